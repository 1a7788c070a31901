"""AsyncAPI's own parser: a package of theirs, which runs on Node.js, pinned beside this file."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import IN_CI
from tests.support.npm import installed

_PINNED = Path(__file__).parent / "asyncapi"

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
        ["node", str(installed(_PINNED) / "check.mjs")],
        input=json.dumps(documents),
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert checked.returncode == 0, checked.stderr
    found: list[list[dict[str, Any]]] = json.loads(checked.stdout)
    return found
