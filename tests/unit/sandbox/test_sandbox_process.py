"""The sandbox as a process of its own."""

import asyncio
import hashlib
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import aiohttp
import msgspec
import pytest
from click.testing import CliRunner

from sandbox.main import main


@asynccontextmanager
async def process(*options: str) -> AsyncIterator[tuple[asyncio.subprocess.Process, str]]:
    child = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "sandbox",
        *options,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        line = await asyncio.wait_for(child.stdout.readline(), 20)
        yield child, msgspec.json.decode(line)["url"]
    finally:
        if child.returncode is None:
            child.kill()
        await child.communicate()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
async def test_it_says_where_it_listens_answers_and_stops_clean(number):
    options = ["--key", "1000_demo", "--password", "s3cret", "--key", "2000_x", "--password", "y"]
    async with process(*options, "--calls-per-minute", "600", "--profile", "live") as (child, url):
        digest = hashlib.md5(b"1000_demos3cret", usedforsecurity=False).hexdigest()
        async with (
            aiohttp.ClientSession() as session,
            session.get(f"{url}/v1/calls/active", params={"api_key": "1000_demo", "hash": digest}) as response,
        ):
            assert response.status == 200
            assert (await response.json())["status"] == "success"
        child.send_signal(number)
        out, err = await asyncio.wait_for(child.communicate(), 20)
        assert child.returncode == 0
        assert out == b""
        assert b"s3cret" not in err
        assert digest.encode() not in err


@pytest.mark.parametrize(
    "options",
    [
        [],
        ["--key", "1000_demo"],
        ["--key", "1000_demo", "--key", "1001_demo", "--password", "demo"],
        ["--key", "demo", "--password", "demo"],
        ["--key", "1000_demo", "--password", "demo", "--time-zone", "Mars/Olympus"],
        ["--key", "1000_demo", "--password", "demo", "--calls-per-minute", "-5"],
        ["--key", "1000_demo", "--password", "demo", "--profile", "dead"],
    ],
)
def test_wrong_options_are_a_usage_error(options):
    result = CliRunner().invoke(main, options)
    assert result.exit_code == 2
    assert "Error" in result.output


async def test_a_port_in_use_is_an_error_in_one_line():
    async with process("--key", "1000_demo", "--password", "demo") as (_, url):
        port = url.rpartition(":")[2]
        second = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "sandbox",
            *("--port", port, "--key", "1000_demo", "--password", "demo"),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        out, err = await asyncio.wait_for(second.communicate(), 20)
    assert (second.returncode, out) == (1, b"")
    assert err.startswith(b"Error: cannot listen on 127.0.0.1:")
    assert len(err.splitlines()) == 1


async def test_a_process_with_virtual_time():
    options = ["--key", "1000_demo", "--password", "demo", "--calls-per-minute", "60", "--virtual", "--reuse-channels"]
    async with process(*options) as (_, url), aiohttp.ClientSession() as session:
        async with session.put(f"{url}/_sandbox/clock", json={"advance": 3_600}) as response:
            assert response.status == 200
        async with session.get(f"{url}/_sandbox/ledger", params={"format": "jsonl"}) as response:
            assert len((await response.text()).splitlines()) > 3_000
