"""Renews deploy/image/*.txt: of requirements.txt what the image's stages install, with the same versions and hashes."""

from __future__ import annotations

import re
from importlib.metadata import distribution, requires
from pathlib import Path

from packaging.markers import default_environment
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

_ROOT = Path(__file__).parents[1]
FOLDER = _ROOT / "deploy" / "image"
_PINS = _ROOT / "requirements.txt"
_PROJECT = "ringcloud-gateway"
# file -> what it is the closure of
_STAGES = {
    "build.txt": ["hatchling"],
    "runtime.txt": [f"{_PROJECT}[traces]"],
    "demo.txt": [f"{_PROJECT}[demo,traces]"],
}


def files() -> dict[str, str]:
    """What each file should hold, by its name."""
    blocks = _blocks(_PINS.read_text(encoding="utf-8"))
    found = {}
    for name, roots in _STAGES.items():
        needed: set[str] = set()
        for root in roots:
            _close(Requirement(root), needed)
        found[name] = "".join(blocks[one] for one in sorted(needed - {_PROJECT}))
    return found


def _blocks(text: str) -> dict[str, str]:
    """The lines of requirements.txt by the package that they pin."""
    found: dict[str, str] = {}
    name = ""
    for line in text.splitlines(keepends=True):
        if start := re.match(r"([A-Za-z0-9._-]+)(\[[^\]]*\])?==", line):
            name = canonicalize_name(start[1])
            found[name] = ""
        if name:
            found[name] += line
    return found


def _close(wanted: Requirement, found: set[str], extras: frozenset[str] = frozenset()) -> None:
    """Add what an installed package needs on Linux, by what it says itself."""
    name = canonicalize_name(wanted.name)
    asked = frozenset(wanted.extras)
    if name in found and not asked - extras:
        return
    found.add(name)
    environment: dict[str, str] = {name: str(value) for name, value in default_environment().items()}
    environment |= {"sys_platform": "linux", "platform_system": "Linux"}
    for line in requires(distribution(name).metadata["Name"]) or []:
        inner = Requirement(line)
        if any(
            inner.marker is None or inner.marker.evaluate({**environment, "extra": extra}) for extra in ("", *asked)
        ):
            _close(inner, found, asked if canonicalize_name(inner.name) == name else frozenset())


def main() -> None:
    """Write them."""
    for name, text in files().items():
        (FOLDER / name).write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
