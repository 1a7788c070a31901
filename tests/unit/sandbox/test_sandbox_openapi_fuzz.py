"""What the description promises of every operation, held against a sandbox that is asked what may and may not be."""

import asyncio
import hashlib
import threading
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from urllib.parse import quote

import pytest
import schemathesis
from hypothesis import HealthCheck, settings
from schemathesis.checks import positive_data_acceptance
from schemathesis.config import GenerationConfig, ProjectConfig, ProjectsConfig, SchemathesisConfig

from sandbox.clock import VirtualClock
from sandbox.openapi import document
from sandbox.routes import ROUTES
from sandbox.server import SandboxServer
from sandbox.settings import KeySpec, SandboxSettings

MONTH_MS = 30 * 86_400_000
KEY, PASSWORD = "1000_demo", "demo"
SECRETS = {"api_key": KEY, "hash": hashlib.md5(f"{KEY}{PASSWORD}".encode(), usedforsecurity=False).hexdigest()}
# What is well formed may be refused for what the account holds: no description can tell.
REFUSED_BY_STATE = {"no such user", "num is taken"}

generation = GenerationConfig(deterministic=True, max_examples=20, with_security_parameters=False)
schema = schemathesis.openapi.from_dict(
    document(ROUTES),
    config=SchemathesisConfig(seed=1, projects=ProjectsConfig(default=ProjectConfig(generation=generation))),
)


class Served:
    """A sandbox in a thread of its own, and what there is to be found in it."""

    def __init__(self, server: SandboxServer, clock: VirtualClock) -> None:
        self.url = server.url
        self.clock = clock
        pbx = server.pbx
        pbx.place_call(1000, "74950001122", "400", "incoming", ring_ms=1_000, talk_ms=1_000)
        clock.advance(10)
        pbx.place_call(1000, "400", "401", "internal", ring_ms=1_000, talk_ms=MONTH_MS)
        clock.advance(10)
        self.known = {
            "username": "400",
            "filename": pbx.recordings(1000, "400")[0][0],
            "channel": pbx.channels(1000)[0].name,
            "id": "1000",
            "number": "74950001122",
        }


@contextmanager
def served() -> Iterator[Served]:
    started: Future[tuple[Served, asyncio.AbstractEventLoop, asyncio.Event]] = Future()

    async def serve() -> None:
        clock, stopped = VirtualClock(), asyncio.Event()
        async with SandboxServer(SandboxSettings([KeySpec(KEY, PASSWORD)]), clock=clock) as server:
            started.set_result((Served(server, clock), asyncio.get_running_loop(), stopped))
            await stopped.wait()

    def run() -> None:
        try:
            asyncio.run(serve())
        except BaseException as error:
            if started.done():
                raise
            started.set_exception(error)

    thread = threading.Thread(target=run)
    thread.start()
    try:
        sandbox, loop, stopped = started.result(timeout=30)
        yield sandbox
        loop.call_soon_threadsafe(stopped.set)
    finally:
        thread.join(timeout=30)


@pytest.fixture(scope="module")
def sandbox() -> Iterator[Served]:
    with served() as one:
        yield one


class Answers:
    """How often one operation was answered with each status, and which ones its description names."""

    def __init__(self) -> None:
        self.counts: Counter[int] = Counter()
        self.described: set[int] = set()


@pytest.fixture
def answers() -> Iterator[Answers]:
    """Of the operation under test, which has to have been asked well and, where it can be, badly."""
    seen = Answers()
    yield seen
    assert {200, 400} & seen.described <= set(seen.counts) <= seen.described


@schema.parametrize()
@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_an_operation_keeps_to_its_description(case: schemathesis.Case, sandbox: Served, answers: Answers) -> None:
    answers.described = {int(status) for status in case.operation.definition.raw["responses"]}
    send(case, sandbox, answers)
    if name_what_exists(case, sandbox.known):
        send(case, sandbox, answers)


def send(case: schemathesis.Case, sandbox: Served, answers: Answers) -> None:
    # Past every limit: what may be asked is what is tested here, not how often.
    sandbox.clock.advance(60)
    response = case.call(base_url=sandbox.url, params=SECRETS)
    answers.counts[response.status_code] += 1
    by_state = response.status_code == 400 and (not response.text or response.json()["message"] in REFUSED_BY_STATE)
    case.validate_response(response, excluded_checks=[positive_data_acceptance] if by_state else [])


def name_what_exists(case: schemathesis.Case, known: dict[str, str]) -> bool:
    """Put names of the sandbox in place of drawn ones, which hardly ever exist there; whether there were any."""
    if case.path_parameters:
        case.path_parameters = {name: quote(known[name], safe="") for name in case.path_parameters}
    params = case.body.get("params") if isinstance(case.body, dict) else None
    names_user = isinstance(params, dict) and isinstance(params.get("user"), str) and params["user"]
    if names_user:
        case.body = {**case.body, "params": {**params, "user": known["username"]}}
    return bool(case.path_parameters or names_user)
