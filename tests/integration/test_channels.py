"""A gateway that asks for channels too, on a real sandbox and a broker: judged by the ledger."""

import asyncio
from datetime import datetime
from pathlib import Path

from gateway.dev.brokers import Broker
from sandbox.audit import Received
from sandbox.ledger import LedgerRecord
from sandbox.settings import SandboxSettings
from tests.support.gateway import Site, keys_of, lives, site
from tests.support.waiting import eventually

ACCOUNT = 1000
ORIGINATED = 6
_READ = f'ringcloud_polls_total{{{{account="{ACCOUNT}",list="{{}}",outcome="read"}}}}'


def _ms(time: str) -> int:
    return round(datetime.fromisoformat(time).timestamp() * 1000)


async def _channels_told(where: Site, count: int) -> list[Received]:
    """The starts that channels told of, once there are so many."""

    async def told() -> list[Received]:
        """channels told of starts"""
        found = [one for one in await where.told() if one.event["data"]["evidence"] == "channels"]
        return found if len(found) >= count else []

    return await eventually(told, 60.0, interval=0.5)


async def _originate(where: Site) -> None:
    """One call after another whose user's phone rings for longer than a list is apart from the next."""
    pbx = where.sandbox.pbx
    for at in range(ORIGINATED):
        call = pbx.originate(
            ACCOUNT, "402", f"7495000{at:04d}", a_ring_ms=4_000 + 100 * at, ring_ms=3_000, talk_ms=4_000
        )

        def dialled(call: str = call) -> bool:
            """the other side is dialled"""
            return any(
                one.id == call and one.originated_by and one.originated_by.b_dialled_at for one in pbx.ledger.records()
            )

        await eventually(dialled, 20.0, interval=0.2)


async def _busy(broker: Broker, folder: Path, *, reuse: bool) -> tuple[Site, list[Received], list[LedgerRecord]]:
    settings = SandboxSettings(keys_of([ACCOUNT]), calls_per_minute=0, reuse_channels=reuse, clock_skew_seconds=-90)
    async with site(broker, folder, settings) as where:
        where.document["accounts"][0]["channels"] = True
        async with where.gateway() as gateway:
            # What ends before the first poll is history.
            await eventually(lambda: gateway.metric(_READ.format("completed")), 20.0, "the first poll")
            where.sandbox.pbx.set_rate(60)
            await _channels_told(where, 3)
            # What it knew of channels is gone with it; calls begin meanwhile.
            await gateway.kill()
            await where.miss(await where.members())
            await gateway.start()
            told = len(await _channels_told(where, 1))
            await _channels_told(where, told + 3)
            await _originate(where)
            where.sandbox.pbx.stop_placing()
            await where.all_told()
            report = await where.report()
            assert (report.missing, report.doubled, report.outside) == ([], [], [])
            metrics = await gateway.metrics()
            assert gateway.mishaps() == []
        assert _READ.format("channels") in metrics
        assert "ringcloud_rate_limited_total{" not in metrics
        return where, await where.told(), where.sandbox.pbx.ledger.records()


async def test_calls_are_told_once_and_truly_with_channels(embedded_broker: Broker, tmp_path: Path) -> None:
    runs = await asyncio.gather(
        *(_busy(embedded_broker, tmp_path / f"channels-{reuse}".lower(), reuse=reuse) for reuse in (False, True))
    )
    proved = 0
    for _, told, ledger in runs:
        for record in ledger:
            origination = record.originated_by
            if origination is None:
                continue
            events = [one for life in lives(told).values() for one in life if one["data"]["dst"] == record.dst]
            by = {_ms(one["data"]["dialled_by"]) for one in events if one["data"]["dialled_by"] is not None}
            assert len(by) <= 1
            if by:
                proved += 1
                assert origination.a_answered_at is not None
                assert origination.a_answered_at <= by.pop()
    assert proved >= ORIGINATED
