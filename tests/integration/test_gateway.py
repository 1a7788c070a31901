"""What the gateway tells of calls, by the sandbox's ledger: one scenario a broker, both profiles of rows at once."""

import asyncio
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from aiokafka import ConsumerRecord

from gateway.contract.events import decode_event
from gateway.dev.brokers import Broker
from sandbox.audit import Received, Report, audit
from sandbox.faults import FaultKind, FaultOrder
from sandbox.ledger import LedgerRecord
from sandbox.settings import Profile, SandboxSettings
from sandbox.stats import StatsReport
from tests.support.gateway import Runs, Site, keys_of, lives, run_on_each, site, structured
from tests.support.kafka import read_all
from tests.support.waiting import eventually

BUSY_LIFE, IDLE = 1000, 1001
# An account for each way in which an answer can be bad, and how the metrics name it.
FAULTY: dict[FaultKind, int] = {
    "error500": 1010,
    "html200": 1011,
    "truncated": 1012,
    "drop": 1013,
    "hang": 1014,
    "empty_list": 1015,
}
OUTCOMES: dict[FaultKind, str] = {
    "error500": "server_error",
    "html200": "envelope_error",
    "truncated": "transport_error",
    "drop": "transport_error",
    "hang": "transport_error",
}
BAD_ANSWERS = 2
TWINS = ("79161110003", "403")
LONG = ("79161110001", "401")
SHORT = ("405", "79161110005")


@dataclass
class Run:
    """What a gateway did in the scenario."""

    records: list[ConsumerRecord]
    received: list[Received]
    ledger: list[LedgerRecord]
    stats: StatsReport
    state: list[ConsumerRecord]
    idle_polls: int
    ran_through: dict[FaultKind, bool]
    metrics: str
    log: str
    mishaps: list[str]

    @property
    def report(self) -> Report:
        """What was told against what happened."""
        return audit(self.ledger, self.received)

    def lives_of(
        self, *, account: int = BUSY_LIFE, numbers: tuple[str, str] | None = None
    ) -> list[list[dict[str, Any]]]:
        """The events of an account's calls (over these numbers), call by call."""
        return [
            life
            for life in lives(self.received).values()
            if life[0]["data"]["account"] == account
            and numbers in (None, (life[0]["data"]["src"], life[0]["data"]["dst"]))
        ]


async def _live_a_while(broker: Broker, folder: Path, profile: Profile) -> Run:
    settings = SandboxSettings(keys=keys_of([BUSY_LIFE, IDLE, *FAULTY.values()]), profile=profile, hang_seconds=3.0)
    # So short a grace that a call missed in two lists running would have ended by absence.
    config: dict[str, dict[str, Any]] = {"ringcloud": {"timeout": 1.5}, "calls": {"absence_grace": 6}}
    async with site(broker, folder, settings, config) as place:
        gateway = place.gateway()
        async with gateway:
            # What ends before an account is polled for the first time is history.
            await place.polled()
            _place_calls(place)
            found = await asyncio.gather(*(_answer_badly(place, kind) for kind in FAULTY))
            await place.all_told()
            run = Run(
                records=await place.records(),
                received=await place.told(),
                ledger=place.sandbox.pbx.ledger.records(),
                stats=place.sandbox.stats.report(),
                state=await read_all(broker.bootstrap, place.topics.poller_state.name),
                idle_polls=place.polls(IDLE),
                ran_through=dict(zip(FAULTY, found, strict=True)),
                metrics=await gateway.metrics(),
                log="",
                mishaps=[],
            )
            await gateway.stop()
        run.log, run.mishaps = gateway.log(), gateway.mishaps()
        return run


def _place_calls(place: Site) -> None:
    call = place.sandbox.pbx.place_call
    call(BUSY_LIFE, *LONG, "incoming", 2_500, 7_000)
    call(BUSY_LIFE, "79161110002", "402", "incoming", 7_000)
    call(BUSY_LIFE, "404", "79161110004", "outgoing", 1_500, None, "BUSY")
    call(BUSY_LIFE, "406", "79161110006", "outgoing", 200, None, "FAILED")
    call(BUSY_LIFE, *SHORT, "outgoing", 400, 900)
    for _ in range(3):
        call(BUSY_LIFE, *TWINS, "incoming", 2_000, 8_000)


async def _answer_badly(place: Site, kind: FaultKind) -> bool:
    """Bad answers for each list, while a call runs. Whether the call ran on until after the next good ones."""
    account, sandbox = FAULTY[kind], place.sandbox
    sandbox.pbx.place_call(account, "79161110010", "401", "incoming", 500, None, "BUSY")
    sandbox.pbx.place_call(account, "402", "403", "internal", 1_000, 25_000)
    await place.polled(account)
    # An empty list is a real answer: once, it is what RingCloud may say by mistake.
    sandbox.faults.order(FaultOrder(account, "active", kind, 1 if kind == "empty_list" else BAD_ANSWERS))
    # Fewer, so that a good list of completed calls comes while the active one has been unknown for a while.
    sandbox.faults.order(FaultOrder(account, "complete", kind))

    def answered() -> bool:
        """all bad answers were given"""
        return not any(order.account == account for order in sandbox.faults.waiting())

    await eventually(answered, interval=0.02)
    await place.polled(account)
    return sandbox.pbx.active_count(account) == 1


@pytest.fixture(scope="module")
def runs(brokers: dict[str, Broker], tmp_path_factory: pytest.TempPathFactory) -> Runs[Run]:
    """The scenario on every broker, over each profile."""
    return run_on_each(
        brokers,
        tmp_path_factory.mktemp("gateway"),
        documented=lambda broker, folder: _live_a_while(broker, folder, "documented"),
        live=lambda broker, folder: _live_a_while(broker, folder, "live"),
    )


@pytest.fixture(params=["documented", "live"])
def profile(request: pytest.FixtureRequest) -> str:
    """What active rows say of their status."""
    name: str = request.param
    return name


@pytest.fixture
def run(runs: Runs[Run], broker_name: str, profile: str) -> Run:
    """The scenario on one broker over one profile."""
    return runs.of(broker_name, profile)


def test_every_call_is_told_once_and_within_its_bounds(run: Run) -> None:
    report = run.report
    assert report.calls == 8 + 2 * len(FAULTY)
    assert (report.missing, report.doubled, report.outside) == ([], [], [])


def test_a_call_is_started_maybe_answered_and_ended_in_sequence(run: Run) -> None:
    for life in lives(run.received).values():
        types = [event["type"] for event in life]
        answered = life[-1]["data"]["disposition"] == "ANSWERED"
        assert types == ["call.started", *(["call.answered"] if answered else []), "call.ended"]
        assert [event["data"]["sequence"] for event in life] == [*range(1, len(life) + 1)]
        times = [datetime.fromisoformat(event["time"]) for event in life]
        assert times == sorted(times)


def test_a_record_is_a_cloud_event_in_binary_mode_keyed_by_its_call(run: Run) -> None:
    for record in run.records:
        event = structured(record)
        data = event["data"]
        assert record.key == event["subject"].encode() == data["call_id"].encode()
        assert event["id"] == f"{event['subject']}-{data['sequence']}"
        assert event["source"] == f"/ringcloud/accounts/{data['account']}"
        assert event["specversion"] == "1.0"
        assert event["datacontenttype"] == "application/json"
        assert event["sequence"] == str(data["sequence"])
        ours = decode_event(list(record.headers), record.value)
        assert (ours.id, ours.type, ours.data.call_id) == (event["id"], event["type"], data["call_id"])


def test_a_call_shorter_than_the_interval_has_its_whole_life(run: Run) -> None:
    (life,) = run.lives_of(numbers=SHORT)
    assert [event["type"] for event in life] == ["call.started", "call.answered", "call.ended"]
    assert life[-1]["data"]["evidence"] == "complete"
    assert life[-1]["data"]["direction"] == "outgoing"


def test_three_identical_calls_stay_three_calls(run: Run) -> None:
    assert len(run.lives_of(numbers=TWINS)) == 3


def test_an_answer_is_told_live_where_a_status_proves_it(run: Run, profile: str) -> None:
    ((_, answered, ended),) = run.lives_of(numbers=LONG)
    observed = answered["data"]["observed_at"], ended["data"]["observed_at"]
    if profile == "live":
        assert answered["data"]["evidence"] == "status"
        assert observed[0] < observed[1]
    else:
        assert answered["data"]["evidence"] == "complete"
        assert observed[0] == observed[1]


def test_a_bad_answer_never_ends_a_call_and_tells_nothing(run: Run) -> None:
    # That nothing is doubled, missing or out of bounds holds for these calls too; here: that they lived through it.
    assert all(run.ran_through.values()), run.ran_through
    for account in FAULTY.values():
        assert sorted(len(life) for life in run.lives_of(account=account)) == [2, 3]


@pytest.mark.parametrize("kind", OUTCOMES)
def test_polls_are_counted_by_outcome(run: Run, kind: FaultKind) -> None:
    for which, count in {"active": BAD_ANSWERS, "completed": 1}.items():
        labels = f'account="{FAULTY[kind]}",list="{which}",outcome="{OUTCOMES[kind]}"'
        assert f"ringcloud_polls_total{{{labels}}} {count}.0" in run.metrics


def test_no_request_is_refused_or_closer_than_the_limit(run: Run) -> None:
    assert run.stats.rate_limited == 0
    for lane in run.stats.lanes:
        assert lane.min_gap_ms is not None
        assert lane.min_gap_ms >= lane.limit_ms, lane.path


def test_an_idle_account_writes_its_first_watermark_and_nothing_more(run: Run) -> None:
    assert run.idle_polls >= 4
    kept = [record for record in run.state if record.key.startswith(f"{IDLE}/".encode())]
    # A heartbeat of the watermark is due after a minute.
    assert {record.key for record in kept} == {f"{IDLE}/mark".encode()}
    assert len(kept) == 1 or kept[1].timestamp - kept[0].timestamp >= 60_000


def test_active_calls_go_down_to_none(run: Run) -> None:
    for account in (BUSY_LIFE, IDLE, *FAULTY.values()):
        assert f'ringcloud_active_calls{{account="{account}"}} 0.0' in run.metrics


def test_no_secret_and_no_number_gets_out(run: Run) -> None:
    events = b"".join(record.value for record in run.records).decode()
    for text in (run.log, run.metrics, events):
        assert "the-key-of-it" not in text
        assert "the-password-of" not in text
    for text in (run.log, run.metrics):
        assert "7916111" not in text


def test_nothing_is_left_behind_at_the_end(run: Run) -> None:
    assert run.mishaps == []
