"""docs/production.md: its values, its commands, and what comes of them where they are run."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import NamedTuple

import pytest
import yaml

from tests.conftest import IN_CI
from tests.helm.chart import KUBERNETES, ROOT, Manifest, helm

PAGE = (ROOT / "docs" / "production.md").read_text(encoding="utf-8")
RELEASE, NAMESPACE = "ringcloud-gateway", "ringcloud"
# Kafka's tools, and the classes that they run.
_TOOLS = {"kafka-acls.sh": "AclCommand", "kafka-configs.sh": "ConfigCommand"}
# What needs a cluster or a container engine.
_ELSEWHERE = re.compile(r"^(docker |helm upgrade |kubectl (?!.*\bcreate )|curl )")


class Block(NamedTuple):
    """A block of code, and the heading that it is under."""

    heading: str
    language: str
    text: str

    def commands(self) -> list[str]:
        """Its commands, those of loops among them, each on one line."""
        return [line.strip() for line in self.text.replace("\\\n", " ").splitlines()]


def blocks() -> list[Block]:
    """The page's blocks, in order."""
    found = []
    for section in re.split(r"^## ", PAGE, flags=re.MULTILINE)[1:]:
        heading = section.partition("\n")[0]
        for language, text in re.findall(r"^```(\w+)\n(.*?)^```$", section, re.DOTALL | re.MULTILINE):
            found.append(Block(heading, language, text))
    return found


def values() -> str:
    """values.yaml as the page has it."""
    (block,) = [one for one in blocks() if one.language == "yaml"]
    return block.text


def elsewhere() -> list[str]:
    """The commands that a cluster or a container engine is needed for."""
    return [line for one in blocks() if one.language == "sh" for line in one.commands() if _ELSEWHERE.match(line)]


def script() -> str:
    """All others, in the order of the page. AssertionError where a block has both kinds."""
    parts = []
    for one in blocks():
        if one.language == "sh":
            there = [bool(_ELSEWHERE.match(line)) for line in one.commands()]
            assert len(set(there)) == 1, f"{one.heading}: commands for here and for elsewhere in one block"
            if not there[0]:
                parts.append(one.text)
    return "".join(parts)


def carry_out(folder: Path, brokers: str, jars: Path) -> None:
    """Run the script in a folder that is a checkout as far as it goes, with Kafka's, Kubernetes' and Helm's own tools.

    The page's brokers are those at `brokers`. What kubectl would create is in `made.yaml` afterwards.
    """
    (folder / "deploy").symlink_to(ROOT / "deploy")
    (folder / "values.yaml").write_text(values(), encoding="utf-8")
    tools = folder / "tools"
    tools.mkdir()
    for name, class_ in _TOOLS.items():
        java = f"java -XX:TieredStopAtLevel=1 -XX:+UseSerialGC -cp '{jars}/*' org.apache.kafka.tools.{class_}"
        _program(tools / name, f'exec {java} "$@"')
    _program(tools / "kubectl", f'echo --- >&3; exec {_kubectl()} "$@" --dry-run=client --output yaml >&3')
    # Built by Go's own command Helm takes the cluster that it can't ask for one of long ago.
    _program(tools / "helm", f'exec {helm()} "$@" --kube-version {KUBERNETES}')
    env = {"PATH": f"{tools}:{os.environ['PATH']}", "HOME": str(folder), "KUBECONFIG": "/dev/null"}
    (named,) = set(re.findall(r"^export BROKERS=(.*)$", script(), re.MULTILINE))
    assert named == yaml.safe_load(values())["config"]["kafka"]["bootstrap"]
    done = subprocess.run(
        ["/bin/sh", "-e", "-c", f"exec 3>made.yaml\n{script().replace(named, brokers)}"],
        cwd=folder,
        env=env,
        capture_output=True,
        text=True,
        timeout=480,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def manifests(path: Path) -> list[Manifest]:
    """The manifests in a file."""
    return [one for one in yaml.safe_load_all(path.read_text(encoding="utf-8")) if one is not None]


def _program(path: Path, text: str) -> None:
    path.write_text(f"#!/bin/sh\n{text}\n", encoding="utf-8")
    path.chmod(0o755)


def _kubectl() -> str:
    found = shutil.which("kubectl")
    if found is None:
        reason = "kubectl is not installed"
        pytest.fail(f"{reason}, with CI=true", pytrace=False) if IN_CI else pytest.skip(reason)
    return found
