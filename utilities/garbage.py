"""How often Python looks for garbage that refers to itself."""

import gc

# New objects, less those that are gone, before the young are looked at; how
# many such looks before one at the middle-aged, and of those before all.
_THRESHOLDS = (50_000, 20, 20)


def collect_seldom() -> None:
    """Spare what is loaded by now, and look at the rest less often.

    Hundreds of calls at once keep tens of thousands of objects alive, and
    by default Python looks through them again and again: a third of a
    worker's time. Most of what they leave is freed without that.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(*_THRESHOLDS)
