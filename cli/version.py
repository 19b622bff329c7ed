"""The installed version."""


def version() -> str:
    """Return the installed version."""
    from importlib import metadata  # noqa: PLC0415 - for one option only

    try:
        return metadata.version("metasync")
    except metadata.PackageNotFoundError:
        # Run from a checkout that is not installed.
        from config import VERSION  # noqa: PLC0415 - takes half a second

        return VERSION
