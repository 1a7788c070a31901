"""Frees offsets behind what waits for long: else a crash would repeat hours of what was done.

On the topic of a delay of 24 h what is due first may lie 9.6 h behind what is due last, for the delays are ±20 %. As
long as a record waits, nothing behind it is committed, done or not.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

from streams.delivery.intake import Entry, Intake
from streams.delivery.waiting import Waiting

# Seconds between two looks. What holds others back at both is written anew; the topics of the shortest delays, which
# have the most on them, are seldom held back for so long.
EVERY = 60.0


async def relieve(
    intakes: Sequence[Intake], waiting: Waiting[Entry], park: Callable[[Entry], None], every: float = EVERY
) -> None:
    """Until cancelled, take out of `waiting` and `park` what keeps done records from being committed for too long.

    So nothing that was done more than two times `every` seconds ago is done again after a crash.
    """
    before: frozenset[Entry] = frozenset()
    while True:
        await asyncio.sleep(every)
        now = frozenset(entry for intake in intakes for entry in intake.blockers())
        for entry in waiting.withdraw((before & now).__contains__):
            park(entry)
        before = now
