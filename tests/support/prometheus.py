"""A real Prometheus for tests: Debian's package, unpacked into the cache, without its service."""

from __future__ import annotations

import asyncio
import shutil
import subprocess
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import yaml

from gateway.dev.brokers import free_port
from tests.conftest import IN_CI
from tests.support.waiting import eventually

_CACHE = Path(__file__).parents[2] / ".cache" / "prometheus"


def tool(name: str) -> str:
    """The path of `prometheus` or `promtool`: that of the machine, or of the package, got once."""
    if found := shutil.which(name):
        return found
    unpacked = _CACHE / "usr" / "bin" / name
    if not unpacked.exists():
        _CACHE.mkdir(parents=True, exist_ok=True)
        try:
            got = subprocess.run(["apt-get", "download", "prometheus"], cwd=_CACHE, capture_output=True, check=False)
            for package in _CACHE.glob("prometheus_*.deb"):
                subprocess.run(["dpkg", "-x", package.name, "."], cwd=_CACHE, check=True)
        except (OSError, subprocess.CalledProcessError) as error:
            _unavailable(str(error))
        else:
            if not unpacked.exists():
                _unavailable(got.stderr.decode()[-500:])
    return str(unpacked)


def _unavailable(reason: str) -> None:
    if IN_CI:
        pytest.fail(f"Prometheus is needed with CI=true: {reason}", pytrace=False)
    pytest.skip(f"no Prometheus: {reason}")


def promtool(*words: str) -> str:
    """What `promtool` says; fails the test where it finds a fault."""
    done = subprocess.run([tool("promtool"), *words], capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


class Prometheus:
    """A server that is asked."""

    def __init__(self, url: str, http: aiohttp.ClientSession) -> None:
        self._url = url
        self._http = http

    async def value(self, query: str) -> list[tuple[dict[str, str], float]]:
        """The series that the query gives now, with their values."""
        async with self._http.get(f"{self._url}/api/v1/query", params={"query": query}) as response:
            answer = await response.json()
            assert response.status == 200, (query, answer)
        return [(one["metric"], float(one["value"][1])) for one in answer["data"]["result"]]

    async def range(
        self, query: str, start: float, end: float, step: float
    ) -> list[tuple[dict[str, str], list[tuple[float, float]]]]:
        """The series that the query gives over a time (epoch seconds), a point every `step` seconds."""
        parameters = {"query": query, "start": str(start), "end": str(end), "step": str(step)}
        async with self._http.get(f"{self._url}/api/v1/query_range", params=parameters) as response:
            answer = await response.json()
            assert response.status == 200, (query, answer)
        return [
            (one["metric"], [(float(at), float(value)) for at, value in one["values"]])
            for one in answer["data"]["result"]
        ]

    async def exemplars(self, query: str, start: float, end: float) -> list[dict[str, str]]:
        """The labels of the exemplars that were kept of the query's series over a time (epoch seconds)."""
        parameters = {"query": query, "start": str(start), "end": str(end)}
        async with self._http.get(f"{self._url}/api/v1/query_exemplars", params=parameters) as response:
            answer = await response.json()
            assert response.status == 200, (query, answer)
        return [one["labels"] for series in answer["data"] for one in series["exemplars"]]

    async def up(self) -> bool:
        """it serves"""
        try:
            async with self._http.get(f"{self._url}/-/ready") as response:
                return response.status == 200
        except aiohttp.ClientError:
            return False


@asynccontextmanager
async def prometheus(folder: Path, targets: Mapping[str, str], rules: Sequence[Path]) -> AsyncIterator[Prometheus]:
    """A Prometheus that scrapes each of `targets` (job, `host:port`) every second, its data in `folder`/data."""
    config: dict[str, Any] = {
        "global": {"scrape_interval": "1s", "evaluation_interval": "1s"},
        "rule_files": [str(path) for path in rules],
        "scrape_configs": [
            {"job_name": job, "static_configs": [{"targets": [where]}]} for job, where in targets.items()
        ],
    }
    (folder / "prometheus.yml").write_text(yaml.safe_dump(config))
    listen = f"127.0.0.1:{free_port()}"
    log = (folder / "prometheus.log").open("wb")
    process = await asyncio.create_subprocess_exec(
        tool("prometheus"),
        f"--config.file={folder / 'prometheus.yml'}",
        f"--storage.tsdb.path={folder / 'data'}",
        "--storage.tsdb.retention.time=60d",
        f"--web.listen-address={listen}",
        "--enable-feature=exemplar-storage",
        stdout=asyncio.subprocess.DEVNULL,
        stderr=log,
    )
    try:
        async with aiohttp.ClientSession(trust_env=False) as http:
            server = Prometheus(f"http://{listen}", http)
            await eventually(server.up, 30.0)
            yield server
    finally:
        process.terminate()
        await process.wait()
        log.close()
