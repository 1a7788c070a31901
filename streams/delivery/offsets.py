"""Tracks which records of a partition are done, so that only what lies before the first unfinished one is committed."""

from __future__ import annotations

from collections import deque


class OffsetTracker:
    """The records of one partition that are being worked on. They may finish in any order.

    Offsets come in rising order and may have gaps: compaction and transaction markers leave them.
    """

    def __init__(self, window: int, span: int | None = None) -> None:
        """Take how many records may be unfinished, and how many may lie from the first of them to the last begun.

        The second bound, by default 200 windows, is one of memory and of what a crash repeats: a single record that
        hangs must not hold up those behind it before that.
        """
        if window < 1:
            raise ValueError("the window must hold at least one record")
        self._window = window
        self._span = 200 * window if span is None else max(span, window)
        self._begun: deque[int] = deque()
        self._unfinished: set[int] = set()
        self._last = -1
        self._committable: int | None = None

    def __len__(self) -> int:
        """How many records there are from the first unfinished to the last begun, both included."""
        return len(self._begun)

    @property
    def full(self) -> bool:
        """Whether no further record may be begun now."""
        return len(self._unfinished) >= self._window or len(self._begun) >= self._span

    @property
    def half_full(self) -> bool:
        """Whether half of the records that may be unfinished are."""
        return 2 * len(self._unfinished) >= self._window

    @property
    def last(self) -> int:
        """The offset of the record that was begun last; -1 before the first."""
        return self._last

    def begin(self, offset: int) -> None:
        """A record is being worked on.

        Raises:
            ValueError: Its offset is not above the last one's, or the window is full.
        """
        if offset <= self._last:
            raise ValueError(f"offset {offset} is not above {self._last}")
        if self.full:
            raise ValueError("the window is full")
        self._begun.append(offset)
        self._unfinished.add(offset)
        self._last = offset

    def done(self, offset: int) -> None:
        """A record that was begun is done with, or parked where it will be taken up again.

        Raises:
            ValueError: It was not begun, or was done already.
        """
        if offset not in self._unfinished:
            raise ValueError(f"offset {offset} is not being worked on")
        self._unfinished.remove(offset)
        moved = False
        while self._begun and self._begun[0] not in self._unfinished:
            self._begun.popleft()
            moved = True
        if moved:
            self._committable = self._begun[0] if self._begun else self._last + 1

    def committable(self) -> int | None:
        """The offset to commit: the first unfinished record's, or the one after the last; None before the first was done."""
        return self._committable

    def unfinished(self) -> list[int]:
        """The records that are not done, in order."""
        return sorted(self._unfinished)

    def blockers(self) -> list[int]:
        """The unfinished records that keep a later one, already done, from being committed; in order."""
        last_done = next((at for at in reversed(self._begun) if at not in self._unfinished), -1)
        return [at for at in self.unfinished() if at < last_done]
