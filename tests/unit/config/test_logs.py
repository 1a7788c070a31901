"""Logs: one shape for all, and no secret in them at any level."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys

import pytest

KEY, PASSWORD = "1000_c0ffee5ec2e7", "pa55w0rd5ec2e7"
HASH = hashlib.md5(f"{KEY}{PASSWORD}".encode()).hexdigest()  # noqa: S324 - as the API has it


@pytest.fixture(scope="module", params=["console", "json"])
def written(request: pytest.FixtureRequest) -> tuple[str, str]:
    """The format, and what a process wrote that asks RingCloud while it logs at debug."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.unit.config.logs_probe", request.param, KEY, PASSWORD],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    assert done.stdout == ""
    return request.param, done.stderr


def test_no_secret_is_in_the_logs(written: tuple[str, str]) -> None:
    _, text = written
    for secret in (KEY, PASSWORD, HASH, "api_key", "c0ffee"):
        assert secret not in text


def test_both_kinds_of_loggers_are_heard(written: tuple[str, str]) -> None:
    _, text = written
    assert "asking" in text
    assert "said something" in text
    assert "failed" in text


def test_json_logs_are_an_object_a_line(written: tuple[str, str]) -> None:
    format_, text = written
    if format_ == "json":
        lines = [json.loads(line) for line in text.splitlines()]
        first = next(line for line in lines if line["event"] == "asking")
        assert first["account"] == 1000
        assert first["level"] == "debug"
        assert first["logger"] == "probe"
        assert first["timestamp"].endswith("Z")
        failed = next(line for line in lines if line["event"] == "failed")
        assert "Traceback" in failed["exception"]
