"""AsyncAPI's own parser: a package of theirs, which runs on Node.js, pinned beside this file."""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import IN_CI

_PINNED = Path(__file__).parent / "asyncapi"
_CACHE = Path(__file__).parents[3] / ".cache" / "asyncapi"

# What the parser calls an error or a warning; what is below is advice.
ERROR, WARNING = 0, 1


def need_npm() -> None:
    """Skip the test when there is no npm, saying why; with CI=true fail it."""
    if shutil.which("npm") is not None:
        return
    if IN_CI:
        pytest.fail("AsyncAPI's parser is needed with CI=true, and npm is not installed", pytrace=False)
    pytest.skip("no AsyncAPI parser: npm is not installed")


def complaints(documents: Sequence[Any]) -> list[list[dict[str, Any]]]:
    """What the parser has against each of the documents: `severity`, `code`, `path` and `message`."""
    checked = subprocess.run(
        ["node", str(_installed() / "check.mjs")],
        input=json.dumps(documents),
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert checked.returncode == 0, checked.stderr
    found: list[list[dict[str, Any]]] = json.loads(checked.stdout)
    return found


def _installed() -> Path:
    """The directory with the parser in it, fetched once for what is pinned."""
    pinned = sorted(path for path in _PINNED.iterdir() if path.is_file())
    target = _CACHE / hashlib.sha256(b"".join(path.read_bytes() for path in pinned)).hexdigest()[:16]
    if not target.is_dir():
        _CACHE.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=_CACHE, prefix="partial-") as partial:
            whole = Path(partial) / "whole"
            shutil.copytree(_PINNED, whole)
            command = ["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"]
            done = subprocess.run(command, cwd=whole, capture_output=True, text=True, timeout=150)
            assert done.returncode == 0, done.stderr
            # Only a whole directory ever gets the final name; another run may have been first.
            if not target.is_dir():
                whole.rename(target)
    return target
