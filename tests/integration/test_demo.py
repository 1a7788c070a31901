"""The whole trip in one command: judged by the sandbox's ledger, and gone without a trace when it is told to end."""

import asyncio
import os
import signal
import subprocess
import sys
from pathlib import Path

import msgspec

from tests.support.waiting import eventually

# What setting the stage, the calls, their end and two more polls take, with a margin for a busy machine.
DEMO_SECONDS = 150.0


async def test_the_demo_tells_of_every_call_once(tmp_path: Path) -> None:
    summary = tmp_path / "summary.json"
    words = ("--duration", "12", "--calls-per-minute", "120", "--accounts", "2", "--summary", str(summary))
    demo = await _demo(tmp_path, *words)
    output, _ = await asyncio.wait_for(demo.communicate(), DEMO_SECONDS)
    assert demo.returncode == 0, output.decode()
    found = msgspec.json.decode(summary.read_bytes())
    assert found["calls_in_ledger"] >= 2
    assert (found["missing"], found["duplicates"], found["times_outside_bounds"]) == (0, 0, 0)
    assert found["rate_limited_responses"] == 0
    assert found["webhooks_verified"] == sum(found["events"].values())
    assert found["events"]["call.started"] == found["events"]["call.ended"] == found["calls_in_ledger"]
    assert set(found["latency_ms"]["snapshot_to_receipt"]) == {"p50", "p95", "p99"}
    assert b"succeeded" in output, "the demo's own command is seen"
    assert _left(tmp_path) == []


async def test_told_to_end_while_it_sets_up_the_demo_ends_all_it_started(tmp_path: Path) -> None:
    demo = await _demo(tmp_path)
    reading = asyncio.create_task(demo.communicate())

    def spawned() -> list[Path]:
        """the demo has started its services"""
        return list(tmp_path.glob("rcg-*/streams.log"))

    await eventually(spawned, 60.0)
    children = _children(demo.pid)
    assert len(children) >= 4, "broker, sandbox, gateway and streams"
    demo.send_signal(signal.SIGINT)
    output, _ = await asyncio.wait_for(reading, 30.0)
    assert demo.returncode == 0, output.decode()
    assert [pid for pid in children if _alive(pid)] == []
    assert _left(tmp_path) == []


async def _demo(folder: Path, *words: str) -> asyncio.subprocess.Process:
    """`ringcloud-gateway dev` with its temporary files in `folder`."""
    return await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "gateway.cli", "dev", *words),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        env={**os.environ, "TMPDIR": str(folder)},
    )


def _left(folder: Path) -> list[Path]:
    """What the demo keeps in its temporary folder, as far as it is there."""
    return list(folder.glob("rcg-*"))


def _children(pid: int) -> list[int]:
    found = subprocess.run(["pgrep", "-P", str(pid)], capture_output=True, text=True, check=False)
    return [int(child) for child in found.stdout.split()]


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True
