"""The embedded broker: the Kafka-compatible binary of the `noida-db` package, with only its Kafka side on."""

import importlib.util
from pathlib import Path

from gateway.dev.brokers.base import ProcessBroker, Progress
from gateway.dev.brokers.process import BrokerError, Child, free_port


class EmbeddedBroker(ProcessBroker):
    """A light broker for demos and quick tests: ready in well under a second, its data kept in a directory.

    It holds everything in memory and writes it whole, about once a second and when it is stopped. So `kill` may lose the
    last second, a restart forgets open transactions and whom it had fenced, and much data (tens of MB) keep a core busy.
    A transaction left open is not ended by its timeout, only by its id's next use. Where that matters: `ApacheKafka`.
    """

    def __init__(self, data_dir: Path, progress: Progress | None = None) -> None:
        """Take the directory for data and log (made when missing), and who is told what is awaited.

        Raises:
            BrokerError: No free port was found.
        """
        super().__init__("the embedded broker", free_port(), progress)
        self._dir = data_dir

    async def _prepare(self) -> Child:
        self._dir.mkdir(parents=True, exist_ok=True)
        command = [str(_binary()), "start", "--only", "kafka", "--host", "127.0.0.1"]
        command += ["--kafka-port", str(self._port), "--data-dir", str(self._dir / "data")]
        return Child(self._name, command, self._dir / "broker.log")


def _binary() -> Path:
    """The program itself: the package's Python wrapper would be one more process to stop."""
    spec = importlib.util.find_spec("noida_db")
    if spec is None or spec.origin is None:
        raise BrokerError("the embedded broker needs the noida-db package: pip install 'ringcloud-gateway[demo]'")
    binary = Path(spec.origin).with_name("noida-db")
    if not binary.is_file():
        raise BrokerError("the noida-db package has no binary for this platform")
    if not binary.stat().st_mode & 0o100:
        binary.chmod(0o755)
    return binary
