"""The sandbox's chapter and the README: their shell examples run, as they stand there, and are answered as it says."""

import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec
import pytest

from tests.support.sandbox_nodes import need

ROOT = Path(__file__).parents[3]
CHAPTER = (ROOT / "docs" / "sandbox.md").read_text()
README = (ROOT / "README.md").read_text()
EXAMPLES = re.findall(r"```sh\n(.*?)```", CHAPTER, re.DOTALL)
SERVERS = [example for example in EXAMPLES if re.match(r"ringcloud-gateway sandbox (cluster )?--", example)]
BIN = Path(sys.executable).parent
# Every answer is to be a success, and stands on a line of its own.
CURL = 'curl() { command curl --fail --no-progress-meter "$@"; echo; }\nset -euo pipefail\n'


@contextmanager
def serving(example: str) -> Iterator[dict[str, str]]:
    """Run an example that serves, on a free port; what its line says."""
    command = shlex.split(re.sub(r"--port \d+", "--port 0", example))
    process = subprocess.Popen([BIN / command[0], *command[1:]], stdout=subprocess.PIPE)
    try:
        yield msgspec.json.decode(process.stdout.readline())
    finally:
        process.terminate()
        process.communicate()
    assert process.returncode == 0


def run(script: str) -> list[str]:
    """The lines that a script prints."""
    environment = {"PATH": f"{BIN}:/usr/local/bin:/usr/bin:/bin"}
    ended = subprocess.run(["bash", "-c", CURL + script], capture_output=True, env=environment, timeout=60, check=False)
    assert ended.returncode == 0, (ended.stdout, ended.stderr)
    return ended.stdout.decode().splitlines()


def split(script: str) -> list[str]:
    """The examples, but for those that serve: of one sandbox, of virtual time, of a cluster."""
    return [example for example in EXAMPLES if example not in SERVERS and script in example]


@pytest.fixture(autouse=True)
def _curl() -> None:
    need("curl", "bash", "md5sum")


def test_one_sandbox() -> None:
    script = "".join(example for example in EXAMPLES if example not in SERVERS + split("8081") + split("$CA"))
    with serving(SERVERS[0]) as said:
        lines = [line for line in run(script.replace("http://127.0.0.1:8080", said["url"])) if line]
    envelopes = [msgspec.json.decode(line) for line in lines if line.startswith('{"status"')]
    asked = re.findall(r"^curl .*/v1/", script, re.MULTILINE)
    assert len(envelopes) == len(asked) == 11
    assert {envelope["status"] for envelope in envelopes} == {"success"}
    user, active, complete, originated, created, mailed, channels, channel, *_ = (one["data"] for one in envelopes)
    assert (user["num"], active, complete, originated, created, mailed) == ("400", [], [], None, "450", None)
    assert channels == [channel["Channel"]] == ["SIP/400-00000002"]
    assert '{"key": "1000_demo", "account": 1000, "users": "RW", "calls": "RW"}' in lines
    assert [{"account": 1000, "url": "active", "kind": "error500", "count": 2}] in map(msgspec.json.decode, lines)
    assert sum(line.startswith('{"id":"1000-1"') for line in lines) == 1


def test_the_readme() -> None:
    server, script = re.findall(r"```sh\n(.*?)```", README, re.DOTALL)
    with serving(server) as said:
        lines = [line for line in run(script.replace("http://127.0.0.1:8080", said["url"])) if line]
    users, originated, active, ledger = map(msgspec.json.decode, lines)
    assert [user["user"] for user in users["data"]] == [str(400 + n) for n in range(10)]
    assert originated == {"status": "success", "message": None, "data": None}
    assert [(call["src"], call["dst"]) for call in active["data"]] == [("400", "74950001122")]
    assert [call["account"] for call in ledger] == [1000]


def test_virtual_time() -> None:
    (example,) = split("8081")
    with serving(SERVERS[1]) as said:
        begun = run(f"curl {said['url']}/_sandbox/clock")[0]
        (line,) = filter(None, run(example.replace("http://127.0.0.1:8081", said["url"])))
    before, after = msgspec.json.decode(begun), msgspec.json.decode(line)
    assert after["now"] - before["now"] == 86_400_000


def test_a_cluster() -> None:
    need("redis-server", "nginx")
    (example,) = split("$CA")
    (signing,) = split("AUTH=")
    exports = "".join(line for line in signing.splitlines(keepends=True) if line.startswith("export"))
    with serving(SERVERS[2]) as said:
        assert set(said) == set(msgspec.json.decode(re.search(r"```json\n(.*?)```", CHAPTER, re.DOTALL)[1]))
        example = re.sub(r"CA=\S+", f"CA={said['ca']}", example).replace("https://127.0.0.1:8443", said["url"])
        users, health = filter(None, run(exports + example))
    assert len(msgspec.json.decode(users)["data"]) == 10
    assert msgspec.json.decode(health)["status"] == "ok"


def test_every_server_is_among_the_examples() -> None:
    assert len(SERVERS) == 3
    assert shutil.which("ringcloud-gateway", path=str(BIN))
