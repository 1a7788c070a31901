"""Go modules, for what stands in them: schemas that are published nowhere else."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import IN_CI
from tests.support.npm import CACHE


def go_module(module: str) -> Path:
    """The folder of a module (`path@version`), fetched once. Without Go the test is skipped, with CI=true it fails."""
    elsewhere = [os.environ.get("PATH", os.defpath), str(Path(sys.executable).parent), "/usr/local/go/bin"]
    go = shutil.which("go", path=os.pathsep.join(elsewhere))
    if go is None:
        pytest.fail("go is needed with CI=true", pytrace=False) if IN_CI else pytest.skip("go is not installed")
    env = {
        **os.environ,
        "GOTOOLCHAIN": "local",
        "GOFLAGS": "-modcacherw",
        "GOCACHE": str(CACHE / "go" / "build"),
        "GOMODCACHE": str(CACHE / "go" / "modules"),
    }
    CACHE.mkdir(exist_ok=True)
    done = subprocess.run(
        [go, "mod", "download", "-json", module], cwd=CACHE, env=env, capture_output=True, text=True, timeout=150
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return Path(json.loads(done.stdout)["Dir"])
