"""Python's own settings, for processes that run hundreds of calls at once."""

import gc
import sys

# New objects, less those that are gone, before the young are looked at; how
# many such looks before one at the middle-aged, and of those before all.
_THRESHOLDS = (50_000, 20, 20)


# As long as a thread may compute while others wait, where Python allows 5 ms.
_SWITCH_SECONDS = 0.001


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
