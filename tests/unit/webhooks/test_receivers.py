"""The receivers that docs/webhooks.md shows: they take what the gateway signs, and nothing else, in every language."""

from __future__ import annotations

import asyncio
import base64
import json
import os
import re
import subprocess
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import msgspec
import pytest

from gateway.config import load
from gateway.dev.brokers import free_port
from gateway.listening.verifier import Verifier
from streams.delivery.signing import Signer
from tests.support.waiting import eventually
from tests.support.webhooks import OTHER_SECRET, SECRET
from tests.unit.contract.events import ONE
from tests.unit.webhooks.languages import DOC, LANGUAGES, Program, function_in, receiver_in

# With signs of other scripts and a zero in it, which a string of C would end at.
BODY = msgspec.json.encode({**msgspec.to_builtins(ONE), "note": "Звонок ☎ \x00"})
SEED = base64.b64encode(b"the seed of a key, of 32 bytes..").decode()


@asynccontextmanager
async def running(program: Program, port: int, **env: str) -> AsyncIterator[asyncio.subprocess.Process]:
    process = await asyncio.create_subprocess_exec(
        *program.command,
        cwd=program.folder,
        env={**os.environ, **env},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )

    async def listens() -> bool:
        assert process.returncode is None, await (process.stdout or asyncio.StreamReader()).read()
        try:
            _, writer = await asyncio.open_connection("127.0.0.1", port)
        except OSError:
            return False
        writer.close()
        await writer.wait_closed()
        return True

    try:
        await eventually(listens, 30, "the receiver listens")
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()


def forgeries() -> list[tuple[bytes, dict[str, str]]]:
    """Webhooks that are not to be taken."""
    now = int(time.time())
    right = Signer.of([SECRET]).headers("d-1", now, BODY)
    return [
        (BODY, {}),
        (BODY, Signer.of([OTHER_SECRET]).headers("d-1", now, BODY)),
        (BODY, Signer.of([SECRET]).headers("d-1", now - 600, BODY)),
        (BODY, Signer.of([SECRET]).headers("d-1", now + 600, BODY)),
        (BODY.replace(b"call", b"mall", 1), right),
        (BODY, {**right, "webhook-id": "d-2"}),
        (BODY, {**right, "webhook-timestamp": str(now - 1)}),
        (BODY, {**right, "webhook-timestamp": "soon"}),
        (BODY, {**right, "webhook-signature": "v1"}),
        (BODY, {**right, "webhook-signature": right["webhook-signature"].replace("v1,", "v2,")}),
    ]


@pytest.mark.parametrize("language", LANGUAGES)
async def test_a_receiver_takes_what_is_genuine_and_nothing_else(language: str, tmp_path: Path) -> None:
    port = free_port()
    program = receiver_in(language, tmp_path, port)
    async with (
        running(program, port, WEBHOOK_SECRET=SECRET) as process,
        aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=30)) as http,
    ):

        async def posted(body: bytes, headers: dict[str, str]) -> int:
            async with http.post(f"http://127.0.0.1:{port}/hooks", data=body, headers=headers) as response:
                return response.status

        now = int(time.time())
        private = f"whsk_{SEED}"
        for n, secrets in enumerate([[SECRET], [OTHER_SECRET, SECRET], [private, SECRET], [SECRET, private]]):
            assert await posted(BODY, Signer.of(secrets).headers(f"d-{n}", now, BODY)) == 204
        for body, headers in forgeries():
            assert await posted(body, headers) == 401, headers
        assert await posted(BODY, Signer.of([private]).headers("d-9", now, BODY)) == 401
        process.kill()
        said = (await process.communicate())[0].decode()
    for n in range(4):
        assert f"d-{n} {ONE.type} {ONE.data.call_id}" in said


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_public_key_verifies_what_is_genuine_and_nothing_else(language: str, tmp_path: Path) -> None:
    now = int(time.time())
    private, other = f"whsk_{SEED}", "whsk_" + base64.b64encode(b"x" * 32).decode()
    sign = Signer.of([private]).headers
    right = sign("d-1", now, BODY)
    genuine = [
        right,
        Signer.of([SECRET, private]).headers("d-1", now, BODY),
        Signer.of([other, private]).headers("d-1", now, BODY),
    ]
    forged = [
        (BODY + b" ", right),
        (BODY, Signer.of([other]).headers("d-1", now, BODY)),
        (BODY, Signer.of([SECRET]).headers("d-1", now, BODY)),
        (BODY, sign("d-1", now - 600, BODY)),
        (BODY, sign("d-1", now + 600, BODY)),
        (BODY, {**right, "webhook-id": "d-2"}),
        (BODY, {**right, "webhook-timestamp": str(now - 1)}),
        (BODY, {**right, "webhook-signature": right["webhook-signature"].replace("v1a,", "v1,")}),
        (BODY, {**right, "webhook-signature": "v1a,AAAA"}),
        (BODY, {**right, "webhook-signature": "v1a"}),
    ]
    asked = [*((BODY, headers) for headers in genuine), *forged]
    program = function_in(language, tmp_path)
    answers = subprocess.run(
        program.command,
        cwd=program.folder,
        env={**os.environ, "WEBHOOK_PUBLIC_KEY": public_of(private)},
        input="".join(
            json.dumps({"body": base64.b64encode(body).decode(), "headers": headers}) + "\n" for body, headers in asked
        ),
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert answers.returncode == 0, answers.stderr
    assert answers.stdout.lower().split() == ["true"] * len(genuine) + ["false"] * len(forged)


def public_of(private: str) -> str:
    """The public key of a private one, by OpenSSL."""
    # How a private key begins that is made of a seed (RFC 8410).
    der = bytes.fromhex("302e020100300506032b657004220420") + base64.b64decode(private.removeprefix("whsk_"))
    command = ["openssl", "pkey", "-inform", "DER", "-pubout", "-outform", "DER"]
    done = subprocess.run(command, input=der, capture_output=True, timeout=30)
    assert done.returncode == 0, done.stderr
    return "whpk_" + base64.b64encode(done.stdout[-32:]).decode()


def test_the_commands_that_make_secrets(tmp_path: Path) -> None:
    shared, pair = [
        block for block in re.findall(r"^```sh\n(.*?)^```$", DOC, re.DOTALL | re.MULTILINE) if "openssl" in block
    ]
    now = time.time()
    made = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", shared + pair], cwd=tmp_path, capture_output=True, text=True, timeout=30
    )
    assert made.returncode == 0, made.stderr
    secret, private, public = made.stdout.split()
    headers = Signer.of([secret, private]).headers("d-1", int(now), BODY)
    assert Verifier([secret, public], lambda: now)(BODY, headers) == ("v1", "v1a")
    assert list(tmp_path.iterdir()) == []


def test_the_rotation_s_example_is_a_configuration(tmp_path: Path) -> None:
    chapter = DOC.partition("\n## Secrets and their rotation\n")[2].partition("\n## ")[0]
    (block,) = re.findall(r"^ *```toml\n(.*?)^ *```$", chapter, re.DOTALL | re.MULTILINE)
    path = tmp_path / "gateway.toml"
    # It is of a time that has passed, or will have: that is allowed.
    text = re.sub(r"\d{4}-\d\d-\d\dT", "2026-01-01T", block)
    path.write_text(f'[[endpoints]]\nid = "crm"\nurl = "https://crm.example.com"\n{text}', encoding="utf-8")
    assert len(load(path).endpoints[0].secrets) == 2
