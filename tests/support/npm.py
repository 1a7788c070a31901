"""Node.js packages that judge ours: pinned in a folder beside the test, fetched once into the cache."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import tempfile
from pathlib import Path

CACHE = Path(__file__).parents[2] / ".cache"


def installed(pinned: Path) -> Path:
    """A folder with the files of `pinned`, among them package.json and its lock, and the packages that they name."""
    files = sorted(path for path in pinned.iterdir() if path.is_file())
    target = CACHE / pinned.name / hashlib.sha256(b"".join(path.read_bytes() for path in files)).hexdigest()[:16]
    if not target.is_dir():
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=target.parent, prefix="partial-") as partial:
            whole = Path(partial) / "whole"
            shutil.copytree(pinned, whole)
            command = ["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"]
            done = subprocess.run(command, cwd=whole, capture_output=True, text=True, timeout=150)
            assert done.returncode == 0, done.stderr
            # Only a whole directory ever gets the final name; another run may have been first.
            if not target.is_dir():
                whole.rename(target)
    return target
