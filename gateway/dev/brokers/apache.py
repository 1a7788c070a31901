"""A real Apache Kafka, one KRaft node, from jars that Maven fetches once into a cache."""

import asyncio
import base64
import contextlib
import fcntl
import hashlib
import os
import re
import shutil
import string
import subprocess
import tempfile
import uuid
from collections.abc import AsyncIterator
from pathlib import Path

from gateway.dev.brokers.base import ProcessBroker, Progress
from gateway.dev.brokers.process import BrokerError, Child, free_port

_ROOT = Path(__file__).resolve().parents[3]
_DEPLOY = _ROOT / "deploy" / "kafka"
_POM = _DEPLOY / "pom.xml"
CACHE_DIR = _ROOT / ".cache" / "kafka"

_JAVA_NEEDED = 17
_FETCH_SECONDS = 600.0
_FORMAT_SECONDS = 60.0
# Half a gigabyte holds a test's load; the serial collector and the first compiler alone start fastest on few cores.
_JVM = ["-Xms128m", "-Xmx512m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-Djava.awt.headless=true"]


def apache_kafka_available() -> str | None:
    """None when a real Kafka can be started here, else in words what is missing."""
    if not _POM.is_file():
        return "deploy/kafka is not here: a checkout of the source is needed"
    if shutil.which("mvn") is None:
        return "Maven (mvn) is not installed"
    version = _java_version()
    if version is None:
        return "Java is not installed"
    if version < _JAVA_NEEDED:
        return f"Java {_JAVA_NEEDED} or newer is needed, this is Java {version}"
    return None


class ApacheKafka(ProcessBroker):
    """One Apache Kafka node, broker and controller in one; ready in some seconds."""

    def __init__(self, work_dir: Path, cache_dir: Path = CACHE_DIR, progress: Progress | None = None) -> None:
        """Take the directory for configuration, data and log, the one that keeps the jars, and who is told what is awaited.

        Raises:
            BrokerError: No free port was found.
        """
        super().__init__("Apache Kafka", free_port(), progress)
        self._dir = work_dir
        self._cache = cache_dir

    async def _prepare(self) -> Child:
        reason = apache_kafka_available()
        if reason is not None:
            raise BrokerError(f"Apache Kafka cannot be started: {reason}")
        jars = await _jars(self._cache, self._progress)
        data = self._dir / "data"
        properties = self._dir / "server.properties"
        self._dir.mkdir(parents=True, exist_ok=True)
        controller_port = free_port()
        while controller_port == self._port:
            controller_port = free_port()
        template = string.Template((_DEPLOY / "server.properties.template").read_text())
        text = template.substitute(port=self._port, controller_port=controller_port, data_dir=data)
        properties.write_text(text + self._more_properties(controller_port))

        java = [_java(), *_JVM, *self._more_options(), f"-Dlog4j2.configurationFile={_DEPLOY / 'log4j2.xml'}"]
        java += ["-cp", f"{jars}/*"]
        if not (data / "meta.properties").exists():
            self._progress("formatting Apache Kafka's storage…")
            cluster = base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")
            # One word: an id may begin with a dash.
            arguments = ["kafka.tools.StorageTool", "format", f"--cluster-id={cluster}", f"--config={properties}"]
            arguments += self._more_to_format()
            tool = Child("Apache Kafka's storage tool", java + arguments, self._dir / "format.log")
            await _run(tool, _FORMAT_SECONDS)
        return Child(self._name, [*java, "kafka.Kafka", str(properties)], self._dir / "broker.log")

    # What a node has besides, for those who need one that is set up otherwise.

    def _more_properties(self, controller_port: int) -> str:  # noqa: ARG002 - the listeners are named together
        return ""

    def _more_options(self) -> list[str]:
        return []

    def _more_to_format(self) -> list[str]:
        return []


async def _jars(cache: Path, progress: Progress) -> Path:
    """The directory of the jars that the pom pins, fetched when the cache does not have it yet."""
    jars = cache / hashlib.sha256(_POM.read_bytes()).hexdigest()[:16]
    if jars.is_dir():
        return jars
    progress("fetching Apache Kafka's jars (once)…")
    async with _locked(cache / "lock"):
        if jars.is_dir():
            return jars
        with tempfile.TemporaryDirectory(dir=cache, prefix="partial-") as partial:
            target = Path(partial) / "jars"
            command = ["mvn", "--batch-mode", "--quiet", "--file", str(_POM), "dependency:copy-dependencies"]
            command += ["-DincludeScope=runtime", f"-DoutputDirectory={target}"]
            await _run(Child("Maven", command, Path(partial) / "maven.log"), _FETCH_SECONDS)
            # Only a whole directory ever gets the final name.
            target.rename(jars)
    return jars


@contextlib.asynccontextmanager
async def _locked(path: Path) -> AsyncIterator[None]:
    """Hold a lock that other processes see and that the kernel frees when this one dies."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as handle:
        async with asyncio.timeout(_FETCH_SECONDS):
            while True:
                try:
                    fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except BlockingIOError:
                    await asyncio.sleep(0.1)
        yield


async def _run(child: Child, seconds: float) -> None:
    """Run to the end; raise BrokerError when it fails or takes longer. A cancellation ends it too."""
    async with child:
        code = await child.wait(seconds)
        if code is None:
            raise child.failure(f"did not end within {seconds:g} s")
        if code != 0:
            raise child.failure(f"failed with exit code {code}")


def _java() -> str:
    home = os.environ.get("JAVA_HOME")
    return str(Path(home) / "bin" / "java") if home else "java"


def _java_version() -> int | None:
    """The major version of the Java that would be run, or None without one."""
    try:
        done = subprocess.run([_java(), "-version"], capture_output=True, text=True, timeout=30, check=False)  # noqa: S603
    except (OSError, subprocess.TimeoutExpired):
        return None
    # Old ones call themselves 1.8.
    found = re.search(r'version "(?:1\.)?(\d+)', done.stderr)
    return int(found[1]) if done.returncode == 0 and found else None
