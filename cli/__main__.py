"""`python -m cli` is `metasync`."""

from cli.app import main

main()
