"""Request limits: one lane per key, method and path, one request per interval."""

from typing import NamedTuple

_SWEEP_AT = 10_000


class Lane(NamedTuple):
    """What a limit is counted for. `path` is decoded, so that another spelling of one URL is no other lane."""

    key: str
    method: str
    path: str


class Limiter:
    """Limits within one process. Lanes that have been idle for their interval are dropped when many gather."""

    def __init__(self) -> None:
        self._free_at_ns: dict[Lane, int] = {}
        self._sweep_at = _SWEEP_AT

    def admit(self, lane: Lane, interval_ms: int, at_ns: int) -> bool:
        """True when the lane's last admitted request is `interval_ms` or longer ago; a refusal changes nothing.

        `at_ns` is when the request arrived, by the sandbox's monotonic clock.
        """
        if self._free_at_ns.get(lane, at_ns) > at_ns:
            return False
        self._free_at_ns[lane] = at_ns + interval_ms * 1_000_000
        if len(self._free_at_ns) > self._sweep_at:
            self._sweep(at_ns)
        return True

    def _sweep(self, at_ns: int) -> None:
        self._free_at_ns = {lane: free_at for lane, free_at in self._free_at_ns.items() if free_at > at_ns}
        # Never sweep again at once when all lanes were busy: the cost has to stay spread over many requests.
        self._sweep_at = max(_SWEEP_AT, 2 * len(self._free_at_ns))
