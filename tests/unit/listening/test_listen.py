"""`ringcloud-gateway listen` as a process: what it takes, refuses, passes on and fails, and what it tells of it."""

from __future__ import annotations

import asyncio
import json
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from io import BytesIO
from pathlib import Path
from typing import Any

import aiohttp
import msgspec
import pytest
from aiohttp import web
from click.testing import CliRunner
from standardwebhooks import Webhook

from gateway.cli import main
from gateway.dev.brokers import free_port
from gateway.listening.server import MAX_BODY
from streams.delivery.signing import Signer
from tests.support.processes import listening_addresses
from tests.support.waiting import eventually
from tests.support.webhooks import OTHER_SECRET, SECRET, answering, hanging, receiver, secret_file
from tests.unit.contract.events import ONE

BODY = msgspec.json.encode(ONE)
PRIVATE = "whsk_6Xb/dCcHpPea21PS1N9VY/NZW723CEc77N4rJCubMbfVKIDij2HKpMKkioLlX0dRqSKJp4AJ6p9lMicMFs6Kvg=="
PUBLIC = "whpk_1SiA4o9hyqTCpIqC5V9HUakiiaeACeqfZTInDBbOir4="


@dataclass
class Listener:
    """A running `listen`, the lines that it told, and a client to POST with."""

    process: asyncio.subprocess.Process
    url: str
    http: aiohttp.ClientSession
    said: str
    lines: list[str] = field(default_factory=list)

    async def post(self, body: bytes = BODY, headers: dict[str, str] | None = None) -> int:
        """POST, by default a genuine webhook with an id of its own; the status."""
        headers = signed(f"d-{len(self.lines)}") if headers is None else headers
        async with self.http.post(f"{self.url}/any/path", data=BytesIO(body), headers=headers) as response:
            return response.status

    async def told(self, count: int) -> list[dict[str, Any]]:
        """The first `count` lines as JSON, once they are there."""
        await eventually(lambda: len(self.lines) >= count, what=f"{count} lines told; {self.lines}")
        return [json.loads(line) for line in self.lines]

    async def stop(self, number: signal.Signals = signal.SIGTERM) -> int:
        """Stop it; its exit status."""
        self.process.send_signal(number)
        return await asyncio.wait_for(self.process.wait(), 20)


@asynccontextmanager
async def listening(*words: str) -> AsyncIterator[Listener]:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "gateway.cli", "listen", "--port", "0", *words),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        limit=4 * MAX_BODY,
    )
    assert process.stdout is not None
    assert process.stderr is not None
    stdout = process.stdout
    try:
        said = (await asyncio.wait_for(process.stderr.readline(), 30)).decode()
        assert said.startswith("listening on http://"), said + (await process.stderr.read()).decode()
        async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=60)) as http:
            found = Listener(process, said.split()[2].rstrip(","), http, said)

            async def read() -> None:
                async for line in stdout:
                    found.lines.append(line.decode())

            reading = asyncio.create_task(read())
            yield found
            if process.returncode is None:
                assert await found.stop() == 0
            await reading
        assert await process.stderr.read() == b""
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


def signed(webhook_id: str, body: bytes = BODY, secret: str = SECRET, at: datetime | None = None) -> dict[str, str]:
    at = at or datetime.now(UTC)
    return {
        "content-type": "application/cloudevents+json",
        "webhook-id": webhook_id,
        "webhook-timestamp": str(int(at.timestamp())),
        "webhook-signature": Webhook(secret).sign(webhook_id, at, body.decode()),
    }


@pytest.fixture
def secret(tmp_path: Path) -> list[str]:
    return ["--secret", secret_file(tmp_path)]


async def test_what_is_genuine_is_taken_and_told(secret: list[str]) -> None:
    async with listening(*secret, "--json") as there:
        assert await there.post(headers=signed("d-1")) == 204
        assert await there.post(headers=signed("d-1")) == 204
        first, second = await there.told(2)
    assert msgspec.convert(first.pop("event"), type(ONE)) == ONE
    assert abs(datetime.fromisoformat(first.pop("at")) - datetime.now(UTC)) < timedelta(minutes=1)
    assert first == {
        "webhook_id": "d-1",
        "attempt": 1,
        "taken_before": False,
        "verified": True,
        "schemes": ["v1"],
        "reason": None,
        "type": ONE.type,
        "account": ONE.data.account,
        "src": ONE.data.src,
        "dst": ONE.data.dst,
        "sequence": ONE.data.sequence,
        "status": 204,
        "note": "taken",
    }
    assert (second["attempt"], second["taken_before"]) == (2, True)


async def test_what_is_forged_is_refused_and_told_why(secret: list[str]) -> None:
    now = datetime.now(UTC)
    right = signed("d-1")
    forged = [
        (BODY, {}, "webhook-id is missing"),
        (BODY, signed("d-1", secret=OTHER_SECRET), "no signature is right"),
        (BODY[:-1] + b" }", right, "no signature is right"),
        (BODY, {**right, "webhook-id": "d-2"}, "no signature is right"),
        (BODY, {**right, "webhook-signature": "nonsense"}, "no signature is of a scheme that the secrets are for"),
        (b"\xff\x00", right, "no signature is right"),
    ]
    async with listening(*secret, "--json") as there:
        for body, headers, _ in forged:
            assert await there.post(body, headers) == 401
        assert await there.post(headers=signed("d-1", at=now - timedelta(minutes=10))) == 401
        *told, old = await there.told(len(forged) + 1)
    assert [one["reason"] for one in told] == [reason for _, _, reason in forged]
    assert old["reason"].startswith("webhook-timestamp is 60")
    assert {one["verified"] for one in told} == {False}


async def test_secrets_of_both_kinds_verify(tmp_path: Path) -> None:
    now = int(datetime.now(UTC).timestamp())
    signer = Signer.of([SECRET, PRIVATE])
    words = ["--secret", secret_file(tmp_path, PUBLIC), "--secret", secret_file(tmp_path, SECRET)]
    async with listening(*words, "--json") as there:
        assert "verifying with 2 secrets" in there.said
        assert await there.post(headers=signer.headers("d-1", now, BODY)) == 204
        assert await there.post(headers=Signer.of([PRIVATE]).headers("d-2", now, BODY)) == 204
        assert await there.post(BODY + b" ", Signer.of([PRIVATE]).headers("d-3", now, BODY)) == 401
        both, public, _ = await there.told(3)
    assert (both["schemes"], public["schemes"]) == (["v1", "v1a"], ["v1a"])


async def test_lines_for_people(secret: list[str]) -> None:
    async with listening(*secret) as there:
        await there.post(headers=signed("d-1"))
        await there.post(headers={"webhook-id": "\x1b[2J"[1:]})
        await eventually(lambda: len(there.lines) == 2)
        right, wrong = there.lines
    for part in (ONE.type, f"{ONE.data.src} → {ONE.data.dst}", "d-1", "verified v1", "→ 204 taken"):
        assert part in right
    assert "NOT VERIFIED: webhook-timestamp is missing" in wrong
    assert "→ 401 refused" in wrong
    # Into a pipe there are no colours.
    assert "\x1b" not in right + wrong


async def test_without_a_secret_all_is_taken_and_that_is_said() -> None:
    async with listening() as there:
        assert "verifying nothing: no --secret" in there.said
        assert await there.post(b"{}", {}) == 204
        await eventually(lambda: there.lines)
    assert "not verified: no secret given" in there.lines[0]


@pytest.mark.parametrize(
    ("words", "failed", "status"),
    [
        (["--fail-rate", "0.3"], 30, 503),
        (["--fail-rate", "0.3", "--status", "429"], 30, 429),
        (["--status", "410"], 100, 410),
        (["--fail-rate", "0", "--status", "500"], 0, 500),
        (["--fail-rate", "1"], 100, 503),
    ],
)
async def test_a_share_fails_on_demand(secret: list[str], words: list[str], failed: int, status: int) -> None:
    async with listening(*secret, *words, "--json") as there:
        answers = await asyncio.gather(*(there.post(headers=signed(f"d-{n}")) for n in range(100)))
    assert answers.count(status) == failed
    assert answers.count(204) == 100 - failed


async def test_failures_are_spread_evenly_over_what_is_genuine(secret: list[str]) -> None:
    async with listening(*secret, "--fail-rate", "0.25", "--json") as there:
        answers = []
        for n in range(12):
            answers.append(await there.post(headers=signed(f"d-{n}")))
            assert await there.post(b"", {}) == 401
    assert answers == [204, 204, 204, 503] * 3


async def test_what_is_taken_is_passed_on_unchanged(secret: list[str]) -> None:
    async with receiver() as behind:
        behind.behaviours["/hooks"] = answering(202, 429, headers={"Retry-After": "7"})
        async with listening(*secret, "--json", "--forward", behind.url("/hooks")) as there:
            headers = {**signed("d-1"), "user-agent": "agent/1", "x-own": "yes"}
            assert await there.post(headers=headers) == 202
            async with there.http.post(there.url, data=BODY, headers=signed("d-2")) as response:
                assert (response.status, response.headers["Retry-After"]) == (429, "7")
            assert await there.post(b"", {}) == 401
            told = await there.told(3)
    one, other = behind.at("/hooks")
    assert one.body == BODY
    one.verify()
    assert {name: one.headers[name] for name in headers} == headers
    assert one.headers["host"] == f"127.0.0.1:{behind.port}"
    other.verify()
    assert [(record["status"], record["note"]) for record in told] == [
        (202, "forwarded"),
        (429, "forwarded"),
        (401, "refused"),
    ]


async def test_a_receiver_behind_that_is_away_is_told(secret: list[str]) -> None:
    async with listening(*secret, "--json", "--forward", f"http://127.0.0.1:{free_port()}/") as there:
        assert await there.post() == 502
        (record,) = await there.told(1)
    assert record["note"] == "not forwarded: Connection refused"


async def test_a_name_that_is_none_is_told(secret: list[str]) -> None:
    async with listening(*secret, "--json", "--forward", "http://nobody.invalid/") as there:
        assert await there.post() == 502
        (record,) = await there.told(1)
    assert record["note"] == "not forwarded: the host's name was not resolved"


async def test_an_endless_answer_from_behind_is_cut_off(secret: list[str]) -> None:
    async def endless(request: web.Request, body: bytes) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        try:
            while True:
                await response.write(b"x" * 65_536)
        except ConnectionError:
            return response

    async with receiver() as behind:
        behind.behaviours["/"] = endless
        async with (
            listening(*secret, "--json", "--forward", behind.url()) as there,
            there.http.post(there.url, data=BODY, headers=signed("d-1")) as response,
        ):
            assert await response.read() == b"x" * 65_536


async def test_one_that_hangs_behind_holds_up_no_other(secret: list[str]) -> None:
    async with receiver() as behind:
        with hanging() as hangs:
            behind.behaviours["/"] = hangs
            async with listening(*secret, "--json", "--forward", behind.url()) as there:
                waiting = asyncio.create_task(there.post())
                await eventually(lambda: behind.arrived == 1)
                assert await there.post(b"", {}) == 401
                assert not waiting.done()
                assert await there.stop() == 0
                with pytest.raises(aiohttp.ClientError):
                    await waiting


async def test_an_answer_waits_as_long_as_asked(secret: list[str]) -> None:
    async with listening(*secret, "--json", "--delay", "3600") as there:
        # The sender's own timeout ends it, as the gateway's would.
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.5):
                await there.post()
        assert there.lines == []
    async with listening(*secret, "--json", "--delay", "0.01") as there:
        assert await there.post() == 204


async def test_a_body_is_bounded(secret: list[str]) -> None:
    async with listening(*secret, "--json") as there:
        assert await there.post(b"x" * (MAX_BODY + 1), {}) == 413
        body = b'"%s"' % (b"x" * (MAX_BODY - 2))
        assert await there.post(body, signed("d-1", body)) == 204
        large, whole = await there.told(2)
    assert large["reason"] == f"more than {MAX_BODY} bytes"
    assert len(whole["event"]) == MAX_BODY - 2


async def test_it_listens_on_loopback_unless_told(secret: list[str]) -> None:
    async with listening(*secret) as there:
        assert listening_addresses(there.process.pid) == {"0100007F"}
    async with listening(*secret, "--host", "0.0.0.0") as there:  # noqa: S104 - told so
        assert listening_addresses(there.process.pid) == {"00000000"}


async def test_ctrl_c_ends_it(secret: list[str]) -> None:
    async with listening(*secret) as there:
        assert await there.stop(signal.SIGINT) == 0


async def test_a_reader_that_goes_away_ends_it(secret: list[str]) -> None:
    process = await asyncio.create_subprocess_exec(
        *("bash", "-c", '"$0" -m gateway.cli listen --port 0 "$@" | head -1; echo "${PIPESTATUS[0]}"'),
        *(sys.executable, *secret),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    assert process.stdout is not None
    assert process.stderr is not None
    try:
        url = (await asyncio.wait_for(process.stderr.readline(), 30)).decode().split()[2].rstrip(",")

        async def over() -> bool:
            try:
                async with http.post(url, data=BODY, headers=signed("d-1")):
                    return False
            except aiohttp.ClientError:
                return True

        async with aiohttp.ClientSession() as http:
            await eventually(over)
        out, errors = await asyncio.wait_for(process.communicate(), 20)
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    assert out.decode().splitlines()[-1] == "0"
    assert errors == b""


async def test_a_port_that_is_taken_is_told(secret: list[str]) -> None:
    async with receiver() as other:
        port = str(other.port)
        command = (sys.executable, "-m", "gateway.cli", "listen", "--port", port, *secret)
        process = await asyncio.create_subprocess_exec(*command, stderr=asyncio.subprocess.PIPE)
        _, errors = await asyncio.wait_for(process.communicate(), 30)
    assert process.returncode == 1
    assert f"Error: 127.0.0.1:{port}: " in errors.decode()
    assert "address already in use" in errors.decode().lower()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--secret", "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD"], "--secret: must be env:NAME or file:PATH"),
        (["--secret", "env:RINGCLOUD_TEST_NOTHING"], "--secret: variable RINGCLOUD_TEST_NOTHING is not set"),
        (["--secret", "env:RINGCLOUD_TEST_SECRET"], "--secret: not a signing secret"),
        (["--forward", "localhost:80"], "--forward: must be an http:// or https:// URL"),
        (["--fail-rate", "1.1"], "--fail-rate"),
        (["--status", "100"], "--status"),
        (["--delay", "-1"], "--delay"),
        (["--delay", "nan"], "'--delay': 'nan' is not a finite number"),
        (["--fail-rate", "nan"], "'--fail-rate': 'nan' is not a finite number"),
    ],
)
def test_what_is_wrong_is_named_and_no_secret_shown(words: list[str], said: str) -> None:
    env = {"RINGCLOUD_TEST_SECRET": "C2FVsBQI-no-secret", "RINGCLOUD_TEST_NOTHING": None}
    result = CliRunner(env=env).invoke(main, ["listen", "--port", "0", *words])
    assert result.exit_code in (1, 2)
    assert said in result.output
    assert "C2FVsBQI" not in result.output
