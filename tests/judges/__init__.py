"""What other libraries' users do, against a running Metasync.

These modules run in an environment of their own (`make judges`): the
libraries bring much with them, and need other versions of it than we do.
Each function named `check_...` gets a `Judge` and is one test.
"""
