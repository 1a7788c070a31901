"""Makes Faust commit all that was acknowledged: at once, and before it gives partitions away.

Like the transport it builds on, this hooks into places that Faust does not promise; they are checked, and tests with
transactions and with rebalances guard what they do.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import faust
from faust.transport.consumer import Consumer as FaustConsumer

from streams.transport import CommittedTransport, TransportError, _CommittedConsumer


class _CarefulConsumer(_CommittedConsumer):
    """Counts on acknowledgement in the order of offsets, as the fan-out gives it."""

    async def on_partitions_revoked(self, revoked: set[Any]) -> None:
        """Finish and commit first.

        Faust's consumer forgets the acknowledged offsets of these partitions and only then waits for what is under way
        and commits: everything acknowledged since the last commit would be read again by the next owner. What is done
        here is what Faust's app does afterwards, a moment too late.
        """
        if not self.should_stop and self.assignment():
            self.stop_flow()
            self.app.flow_control.suspend()
            self.app.flow_control.clear()
            await self.wait_empty()
        await super().on_partitions_revoked(revoked)

    async def _add_gap(self, tp: Any, offset_from: int, offset_to: int) -> None:
        """Take no notice of offsets without a record: with acknowledgement in order nothing depends on them."""

    async def _commit_offsets(self, offsets: Mapping[Any, int], start_new_transaction: bool = True) -> bool:  # noqa: ARG002 - Faust's
        """Commit what is still owned; say whether it was.

        Faust draws a table of it first, for a log level that nobody sees: a millisecond and a half, four times a second.
        """
        owned = self.assignment()
        mine = {tp: offset for tp, offset in offsets.items() if tp in owned}
        if not mine or not await self._commit(mine):
            return False
        self._committed_offset.update(mine)
        return True

    def _new_offset(self, tp: Any) -> int | None:
        """The offset after the last acknowledged one.

        Faust's way stops at every gap between records, and each transaction leaves one, for its marker: it commits no
        more than one transaction a second.
        """
        acked = self._acked[tp]
        if not acked:
            return None
        last = max(acked)
        acked.clear()
        self._acked_index[tp].clear()
        return last + 1


class CarefulTransport(CommittedTransport):
    """The committed transport, whose consumers commit all that was acknowledged."""

    Consumer = _CarefulConsumer


def use_careful_transport(app: faust.App) -> None:
    """Replace the committed transport that the app has been given; call it before the app starts.

    Raises:
        TransportError: Faust lost one of the places this hooks into.
    """
    for hook in ("on_partitions_revoked", "_add_gap", "_new_offset", "_commit_offsets", "wait_empty", "stop_flow"):
        if not hasattr(FaustConsumer, hook):
            raise TransportError(f"Faust has no Consumer.{hook} any more")
    app.transport = CarefulTransport(app.conf.broker_consumer, app)
