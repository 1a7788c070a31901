"""Originates and the calls that they start, told of by gateways that are killed in between: what tests look into."""

from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from gateway.dev.brokers import Broker, EmbeddedBroker
from sandbox.faults import FaultOrder
from sandbox.ledger import LedgerRecord
from sandbox.settings import KeySpec, Profile, SandboxSettings, TrafficProfile
from tests.support.commands import finished, results, sender
from tests.support.gateway import Site, keys_of, site
from tests.support.waiting import eventually

PLAIN, RENUMBERED, ALIKE, PHASES, UNKNOWN, KILLED, SILENT = range(4500, 4507)
# A's phone rings for longer than the lists of channels and of active calls are apart.
TRAFFIC = TrafficProfile(
    originate_a_ms=(5_500, 6_000),
    ring_ms=(1_000, 2_000),
    talk_ms=(5_000, 8_000),
    answered=1,
    no_answer=0,
    busy=0,
    failed=0,
)
NUM = "71000000001"
IDS = ("plain", "renumbered", "alike-1", "alike-2", "phases", "unknown", "killed", "silent")


@dataclass
class Run:
    """What became of the commands and of the calls."""

    results: list[dict[str, Any]]
    events: list[dict[str, Any]]
    ledger: list[LedgerRecord]
    mishaps: list[str] = field(default_factory=list)

    def started(self, id_: str) -> list[dict[str, Any]]:
        """The data of the events that carry a command's id."""
        return [one["data"] for one in self.events if one["data"]["command_id"] == id_]

    def seen(self, id_: str, status: str = "observed") -> list[str | None]:
        """The calls that results of this status name."""
        return [one["call_id"] for one in self.results if (one["command_id"], one["status"]) == (id_, status)]


async def linked(profile: Profile, broker: Broker, folder: Path) -> Run:
    """Calls of every kind, on a sandbox of this profile."""
    keys = [*keys_of(range(4500, 4507)), KeySpec(f"{ALIKE}_second", "another-password")]
    settings = SandboxSettings(keys=keys, profile=profile, traffic=TRAFFIC)
    config = {"kafka": {"session_timeout": 6 if isinstance(broker, EmbeddedBroker) else 2}}
    async with site(broker, folder, settings, config) as place:
        for account in place.document["accounts"]:
            account["channels"] = account["id"] == PHASES
        pbx = place.sandbox.pbx
        pbx.renumber(RENUMBERED, "401", "461")
        pbx.set_phone(SILENT, "400", habit="silent")
        place.sandbox.faults.order(FaultOrder(UNKNOWN, "originate", "truncated"))
        gateway = place.gateway()
        async with gateway, sender(place) as to:
            await place.polled()
            # Somebody else calls the same number, by hand.
            pbx.place_call(PLAIN, "402", NUM, "outgoing", 500, 9_000)
            await to.originate(PLAIN, "plain", NUM)
            await to.originate(RENUMBERED, "renumbered", NUM, user="401")
            for n in (1, 2):
                await to.originate(ALIKE, f"alike-{n}", NUM)
            await to.originate(PHASES, "phases", NUM)
            await to.originate(UNKNOWN, "unknown", NUM)
            await to.originate(SILENT, "silent", NUM)
            await _observed(place, *(one for one in IDS if one != "killed"))
            await to.originate(KILLED, "killed", NUM)
            await finished(place, ["killed"])
            await gateway.kill()
            await place.miss(await place.members())
            await gateway.start()
            await place.all_told()
            await _observed(place, *IDS)
            await gateway.stop()
        events = [one.event for one in await place.told()]
        return Run(await results(place), events, pbx.ledger.records(), gateway.mishaps())


async def _observed(place: Site, *ids: str) -> None:
    async def observed() -> bool:
        """the commands' calls were observed"""
        return {one["command_id"] for one in await results(place) if one["status"] == "observed"} >= {*ids}

    await eventually(observed, 60.0, interval=0.5)


SCENARIOS: dict[Profile, Callable[[Broker, Path], Coroutine[Any, Any, Run]]] = {
    "documented": partial(linked, "documented"),
    "live": partial(linked, "live"),
}
