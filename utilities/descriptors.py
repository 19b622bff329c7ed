"""How many files and sockets this process may have open."""

import resource

_ENOUGH = 65_536


def raise_descriptor_limit() -> None:
    """Use what the system allows; many systems begin with 1,024."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY:
        return
    most = _ENOUGH if hard == resource.RLIM_INFINITY else min(hard, _ENOUGH)
    if soft < most:
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))


def most_connections(wanted: int) -> int:
    """Return how many connections clients may have, at most `wanted`.

    Half of all descriptors are left for calls to providers, the database
    and files: new clients are turned away before running work fails.
    """
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY:
        return wanted
    return max(1, min(wanted, soft // 2))
