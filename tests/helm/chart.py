"""The chart as Helm renders it."""

from __future__ import annotations

import os
import subprocess
import tempfile
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.conftest import IN_CI

ROOT = Path(__file__).parents[2]
CHART = ROOT / "deploy" / "helm" / "ringcloud-gateway"
VARIANTS = sorted(Path(__file__).with_name("values").glob("*.yaml"))
# What is rendered depends on it only through Chart.yaml.
KUBERNETES = "1.34.0"

Manifest = dict[str, Any]


def variant(name: str) -> Path:
    """The values file of this name."""
    return Path(__file__).with_name("values") / f"{name}.yaml"


@cache
def render(*values: Path, release: str = "rc", kubernetes: str = KUBERNETES, chart: Path = CHART) -> list[Manifest]:
    """The manifests of a release of this name; AssertionError with Helm's words if it refuses."""
    done = run_helm(
        "template", release, str(chart), *_files(values), "--kube-version", kubernetes, "--namespace", "calls"
    )
    assert done.returncode == 0, done.stderr
    return [one for one in yaml.safe_load_all(done.stdout) if one is not None]


def refusal(values: Manifest) -> str:
    """What Helm says of values that it is to refuse, given beside those of the variant `minimal`."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "values.yaml"
        path.write_text(yaml.safe_dump(values), encoding="utf-8")
        done = run_helm("template", "rc", str(CHART), *_files([variant("minimal"), path]), "--kube-version", KUBERNETES)
    assert done.returncode != 0, done.stdout
    return done.stderr


def lint(*values: Path) -> str:
    """What `helm lint --strict` finds; AssertionError if that is an error."""
    done = run_helm("lint", "--strict", str(CHART), *_files(values), "--kube-version", KUBERNETES)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def kinds(manifests: list[Manifest], kind: str) -> dict[str, Manifest]:
    """The manifests of a kind, by their component, or by their name where they have none."""
    found = [one for one in manifests if one["kind"] == kind]
    by = {one["metadata"]["labels"].get("app.kubernetes.io/component", one["metadata"]["name"]): one for one in found}
    assert len(by) == len(found)
    return by


def _files(values: Any) -> list[str]:
    return [word for path in values for word in ("--values", str(path))]


def run_helm(*words: str) -> subprocess.CompletedProcess[str]:
    """Run Helm to its end, with nothing of whoever runs this: no plugin, no repository, no cluster."""
    with tempfile.TemporaryDirectory() as home:
        env = {"PATH": os.environ.get("PATH", os.defpath), "HOME": home, "KUBECONFIG": "/dev/null"}
        return subprocess.run([helm(), *words], env=env, capture_output=True, text=True, timeout=60, check=False)


def helm() -> str:
    """The program; without it the test is skipped, with CI=true it fails."""
    built = sorted((ROOT / ".cache" / "go" / "bin").glob("helm-v*"))
    if built:
        return str(built[-1])
    reason = "Helm is not built: `make helm-test` does that"
    if IN_CI:
        pytest.fail(reason, pytrace=False)
    pytest.skip(reason)
