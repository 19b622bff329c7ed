"""Settings of Python and its allocator, for processes that run for long."""

import contextlib
import ctypes
import gc
import sys

# New objects, less those that are gone, before the young are looked at; how
# many such looks before one at the middle-aged, and of those before all.
_THRESHOLDS = (50_000, 20, 20)


# As long as a thread may compute while others wait, where Python allows 5 ms.
_SWITCH_SECONDS = 0.001


# Names of settings in glibc's malloc.h, and their values.
_TRIM_THRESHOLD, _MMAP_THRESHOLD, _ARENA_MAX = -1, -3, -8
_LARGE_BYTES = 512 * 1024
_KEPT_BYTES = 16 * 1024 * 1024
_MOST_ARENAS = 2


def return_freed_memory() -> None:
    """Give the memory of large values back as soon as they are freed.

    By default glibc's threshold for that grows with the first large value
    that is freed: from then on large values share the heap with small
    ones, and the gaps between them are kept. Some updates of a document of
    9 MB left a gigabyte. Other C libraries are left as they are.
    """
    with contextlib.suppress(OSError, AttributeError):
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(_MMAP_THRESHOLD, _LARGE_BYTES)
        mallopt(_TRIM_THRESHOLD, _KEPT_BYTES)
        mallopt(_ARENA_MAX, _MOST_ARENAS)


def collect_seldom() -> None:
    """Spare what is loaded by now, and look at the rest less often.

    Hundreds of calls at once keep tens of thousands of objects alive, and
    by default Python looks through them again and again: a third of a
    worker's time. Most of what they leave is freed without that.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(*_THRESHOLDS)


def switch_threads_often() -> None:
    """Let the API's thread answer between two steps of the workers'.

    A request waits for its turn several times; at full speed that adds up
    to half of what it takes. The workers are not slower for it.
    """
    sys.setswitchinterval(_SWITCH_SECONDS)
