"""Has Python look for garbage in cycles less often: a process that keeps much and makes few cycles gains nothing by it."""

from __future__ import annotations

import gc

# Objects made and not yet freed, where Python's own is 700. A poll has some hundreds of them while it is in flight, and
# nearly all go by their counts alone. A gateway of 2,000 accounts keeps 700,000: looking through them all, again and
# again, was a third of its time, a fifth of a second in one go.
_YOUNG = 20_000


def spare_the_collector() -> None:
    """Set the thresholds of the garbage collector for the whole process; what there is by now is never looked at again."""
    gc.set_threshold(_YOUNG, *gc.get_threshold()[1:])
    # Modules, classes and functions are some hundred thousand objects, and none of them is ever garbage.
    gc.collect()
    gc.freeze()
