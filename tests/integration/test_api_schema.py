"""What the API's description promises of every operation, held against a served API that is asked what may and may not be."""

import asyncio
import json
import threading
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import httpx
import pytest
import schemathesis
from hypothesis import HealthCheck, settings
from openapi_spec_validator import OpenAPIV31SpecValidator
from schemathesis.config import (
    ChecksConfig,
    GenerationConfig,
    PositiveDataAcceptanceConfig,
    ProjectConfig,
    ProjectsConfig,
    SchemathesisConfig,
)

from gateway.api.commands import CommandOperations
from gateway.api.deliveries import DeliveryOperations
from gateway.api.description import document
from gateway.api.endpoints import EndpointOperations
from gateway.api.replaying import ReplayOperations
from gateway.dev.brokers import Broker
from tests.support.admin import Admin, admin_config, administered, token_of

ENDPOINT = {"id": "crm", "url": "https://crm.example.com/"}

none: Any = None
described = document(
    [
        *EndpointOperations(none, none, none, none, none).operations(),
        *DeliveryOperations(none, none, none).operations(),
        *ReplayOperations(none).operations(),
        *CommandOperations(none, none, none).operations(),
    ],
    "1",
)
schema = schemathesis.openapi.from_dict(
    described,
    config=SchemathesisConfig(
        seed=1,
        projects=ProjectsConfig(
            default=ProjectConfig(
                generation=GenerationConfig(deterministic=True, max_examples=25, with_security_parameters=False),
                # What fits the description may break a rule that no schema can tell (422), or not be there (404).
                checks=ChecksConfig(
                    positive_data_acceptance=PositiveDataAcceptanceConfig(
                        expected_statuses=["2xx", "404", "409", "422"]
                    )
                ),
            )
        ),
    ),
)


class Served:
    """An API in a thread of its own, and what there is to be found in it."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.headers = {"Authorization": f"Bearer {token_of('all')}"}
        self.client = httpx.Client(base_url=url, headers=self.headers, timeout=60)
        self.make()
        self.delivery = self.client.post("/v1/endpoints/crm/test").json()["delivery"]
        asked = {"kind": "dead_letters", "endpoint": "crm"}
        command = {"type": "call.originate", "id": "order-4711", "account": 1000, "user": "400", "num": "100"}
        self.command = self.client.post("/v1/commands", json=command).json()["id"]
        self.replay = self.client.post("/v1/replays", json=asked).json()["id"]

    def make(self) -> None:
        """Let there be an endpoint, as it was."""
        self.client.delete("/v1/endpoints/crm")
        made = self.client.post("/v1/endpoints", json=ENDPOINT)
        assert made.status_code == 201, made.text

    def name(self, path: str) -> str:
        """An id for a path that is there."""
        names = {
            "endpoints": "crm",
            "deliveries": self.delivery,
            "replays": self.replay,
            "commands": self.command,
        }
        return names[path.split("/")[2]]


@pytest.fixture(scope="module")
def api(embedded_broker: Broker, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    started: Future[tuple[Admin, asyncio.AbstractEventLoop, asyncio.Event]] = Future()

    async def serve() -> None:
        stopped = asyncio.Event()
        config = admin_config(embedded_broker.bootstrap, "described", tmp_path_factory.mktemp("api"))
        async with administered(config) as admin:
            started.set_result((admin, asyncio.get_running_loop(), stopped))
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
        admin, loop, stopped = started.result(timeout=60)
        served = Served(admin.url)
        yield served
        served.client.close()
        loop.call_soon_threadsafe(stopped.set)
    finally:
        thread.join(timeout=60)


@pytest.fixture
def statuses() -> Iterator[Counter[int]]:
    """How often the operation under test was answered with each status: it must have been asked well and badly."""
    seen: Counter[int] = Counter()
    yield seen
    assert any(status < 300 for status in seen), seen
    assert not any(status >= 500 for status in seen), seen


# Schemathesis's own strategies use `random`.
@pytest.mark.filterwarnings("ignore:Do not use the `random` module:hypothesis.errors.HypothesisDeprecationWarning")
@schema.parametrize()
@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_an_operation_keeps_to_its_description(case: schemathesis.Case, api: Served, statuses: Counter[int]) -> None:
    send(case, api, statuses)
    if case.method == "PUT":
        # Few random texts are URLs, and hardly any endpoint is right in all: one that is must be taken.
        statuses[api.client.put("/v1/endpoints/crm", json={**ENDPOINT, "secrets": ["env:S"]}).status_code] += 1
    if case.path_parameters:
        case.path_parameters = {"id": api.name(case.operation.path)}
        if isinstance(case.body, dict) and "id" in case.body:
            case.body = {**case.body, "id": "crm"}
        send(case, api, statuses)
        if case.operation.path.startswith("/v1/endpoints"):
            api.make()


def send(case: schemathesis.Case, api: Served, statuses: Counter[int]) -> None:
    if case.query and str(case.query.get("wait")) in map(str, range(1, 61)):
        # Nobody executes commands here: whoever waits does so to the end. That is for test_api_commands.py.
        case.query = {name: value for name, value in case.query.items() if name != "wait"}
    response = case.call_and_validate(base_url=api.url, headers=api.headers)
    statuses[response.status_code] += 1


def test_the_description_is_openapi_and_served_with_a_page_that_asks_nobody_else(api: Served) -> None:
    OpenAPIV31SpecValidator(described).validate()
    served = api.client.get("/schema")
    assert served.headers["content-type"] == "application/json"
    assert {**json.loads(served.text), "info": None} == {**json.loads(json.dumps(described)), "info": None}
    page = api.client.get("/docs")
    assert page.headers["content-type"] == "text/html; charset=utf-8"
    assert "://" not in page.text.partition("<body>")[0]
    for tag in ("<script", "<link", "<img", "src="):
        assert tag not in page.text
    for methods in described["paths"].values():
        for operation in methods.values():
            assert f'id="{operation["operationId"]}"' in page.text


def test_nobody_asks_without_a_token_but_for_health_and_description(api: Served, tmp_path: Path) -> None:
    for path in ("/livez", "/readyz", "/schema", "/docs"):
        assert httpx.get(api.url + path).status_code in (200, 503), path
    for path, methods in described["paths"].items():
        for method in methods:
            assert httpx.request(method, api.url + path).status_code == 401
