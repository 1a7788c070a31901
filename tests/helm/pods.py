"""Pods without a cluster: what is mounted is in a folder, what runs is a process that can write to its /tmp alone."""

from __future__ import annotations

import base64
import subprocess
import sys
import tempfile
from functools import cache
from pathlib import Path
from typing import Any

import msgspec

from gateway.dev.brokers import Child
from tests.conftest import IN_CI
from tests.helm.chart import Manifest, kinds

_ETC = "/etc/ringcloud-gateway"
# Everything that is mounted is made read-only, for this process and what it starts; then there is a new, empty /tmp. A
# mount that can't be made so holds nothing of a pod's, or `can_be_read_only` finds it out.
_READ_ONLY = r"""
for place in $(awk '$3 !~ /^(proc|sysfs|cgroup2?|devpts|mqueue)$/ && $2 !~ /^\/(dev|sys|proc)/ { print $2 }' /proc/self/mounts); do
  mount -o remount,bind,ro "$place" || true
done
mount -t tmpfs tmpfs "$1"
shift
exec "$@"
"""


class Pod:
    """A component of what was rendered, with Secrets as they were made, in a folder of its own."""

    def __init__(self, folder: Path, component: str, rendered: list[Manifest], secrets: list[Manifest]) -> None:
        self.component = component
        self._folder = folder / component
        self._tmp = self._folder / "tmp"
        self._tmp.mkdir(parents=True)
        found = {**kinds(rendered, "Deployment"), **kinds(rendered, "Job")}[component]
        self.spec: Manifest = found["spec"]["template"]["spec"]
        (self._container,) = self.spec["containers"]
        by_name = {one["metadata"]["name"]: one for one in secrets if one["kind"] == "Secret"}
        maps = {one["metadata"]["name"]: one for one in rendered if one["kind"] == "ConfigMap"}
        places = {one["name"]: one["mountPath"] for one in self._container["volumeMounts"]}
        for volume in self.spec["volumes"]:
            if secret := volume.get("secret"):
                where = self._here(places[volume["name"]])
                where.mkdir(parents=True)
                for name, value in by_name[secret["secretName"]]["data"].items():
                    (where / name).write_bytes(base64.b64decode(value))
            elif config := volume.get("configMap"):
                (item,) = config["items"]
                self._text = maps[config["name"]]["data"][item["key"]]
        self.config = self._here(f"{_ETC}/gateway.toml")
        self.configure({})

    def configure(self, changed: dict[str, dict[str, Any]], **lists: list[Any]) -> None:
        """Put its configuration in place, with what is `changed` by table, or a list instead of what it has."""
        document: dict[str, Any] = msgspec.toml.decode(self._text.replace(_ETC, str(self._here(_ETC))))
        for table, settings in changed.items():
            document[table] = {**document.get(table, {}), **settings}
        document |= lists
        self.config.parent.mkdir(parents=True, exist_ok=True)
        self.config.write_bytes(msgspec.toml.encode(document))

    def run(self) -> Child:
        """What its container runs, not started; `log` is beside its files."""
        (command, config) = self._container["args"]
        return self._child(command, command, str(self._here(config)))

    def check(self) -> Child:
        """`check` of its own secrets in it."""
        (command, config) = self._container["args"]
        return self._child("check", "check", "--service", command, str(self._here(config)))

    def _child(self, name: str, *words: str) -> Child:
        command = [sys.executable, "-m", "gateway.cli", *words]
        if can_be_read_only():
            command = _contained(self._tmp, command)
        env = {"TMPDIR": str(self._tmp), "COLUMNS": "1000", "PYTHONDONTWRITEBYTECODE": "1"}
        return Child(self.component, command, self._folder / f"{name}.log", env)

    def _here(self, path: str) -> Path:
        return self._folder / path.removeprefix("/")


def _contained(tmp: Path, command: list[str]) -> list[str]:
    return ["unshare", "--mount", "/bin/sh", "-e", "-c", _READ_ONLY, "pod", str(tmp), *command]


@cache
def can_be_read_only() -> bool:
    """Whether a process can be shown a file system that it can't write to. With CI=true it has to be."""
    with tempfile.TemporaryDirectory() as folder:
        tmp = Path(folder) / "tmp"
        tmp.mkdir()
        trial = ["/bin/sh", "-c", ": > tmp/there && : > here"]
        try:
            done = subprocess.run(
                _contained(tmp, trial), capture_output=True, text=True, timeout=30, check=False, cwd=folder
            )
        except FileNotFoundError:
            done = subprocess.CompletedProcess([], 1, "", "unshare is not there")
    found = "here: Read-only file system" in done.stderr
    assert found or not IN_CI, done.stderr
    return found
