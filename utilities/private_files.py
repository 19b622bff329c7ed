"""Keeps the data directory's files from other users of the machine."""

import os
import stat
from collections.abc import Iterator
from pathlib import Path

import structlog

_OTHERS = stat.S_IRWXG | stat.S_IRWXO
# What we make in a data directory; the rest of it is not ours.
_OURS = (
    *("metasync.*", "database.*", "db", "db/*"),
    *("spool", "spool/**/*", "audit", "audit/*"),
)

log = structlog.get_logger(__name__)


def make_private(directory: Path) -> None:
    """Take the rights of group and others from a data directory.

    A directory that does not exist yet is made private by its maker.
    What cannot be changed is logged once.
    """
    changed, refused = [], []
    for path in _ours(directory):
        mode = path.lstat().st_mode
        if stat.S_ISLNK(mode) or not mode & _OTHERS:
            continue
        try:
            path.chmod(stat.S_IMODE(mode) & ~_OTHERS)
            changed.append(path)
        except OSError:
            refused.append(path)
    if changed:
        log.info("data_directory_made_private", files=len(changed))
    if refused:
        log.warning(
            "data_directory_open_to_others",
            path=str(refused[0]),
            files=len(refused),
            advice="remove the rights of group and others: they can read "
            "requests and answers",
        )


def _ours(directory: Path) -> Iterator[Path]:
    if not directory.is_dir() or directory.stat().st_uid != os.geteuid():
        return
    yield directory
    for pattern in _OURS:
        yield from directory.glob(pattern)
