"""What can go wrong in the streams service as a whole.

StreamsError
└── FanOutError     call events cannot be expanded any more; none that was not expanded has been committed

The delivery worker's errors are in `streams.delivery.errors`, the transport's beside it.
"""

from __future__ import annotations


class StreamsError(Exception):
    """The streams service cannot go on."""


class FanOutError(StreamsError):
    """Call events cannot be expanded any more. None that was not expanded has been committed: a restart goes on there."""
