"""The Dockerfile, and its stages made without a container engine: every command is run, in a folder of its own."""

from __future__ import annotations

import fnmatch
import os
import re
import shlex
import shutil
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).parents[3]
# What the image's own folders are in the scratch directory. Nothing else is put in the place of anything.
PLACES = ("/opt/", "/src")


@dataclass
class Stage:
    """A stage, its instructions in order."""

    name: str
    base: str
    steps: list[tuple[str, str]] = field(default_factory=list)

    def last(self, word: str) -> str | None:
        """What the last instruction of this kind says."""
        return next((rest for kind, rest in reversed(self.steps) if kind == word), None)


def stages() -> dict[str, Stage]:
    """The stages of the Dockerfile, in order."""
    text = re.sub(r"^#.*\n", "", (ROOT / "Dockerfile").read_text(encoding="utf-8"), flags=re.MULTILINE)
    found: dict[str, Stage] = {}
    for line in re.sub(r"\\\n\s*", "", text).splitlines():
        word, _, rest = line.strip().partition(" ")
        if word == "FROM":
            base, name = re.fullmatch(r"(\S+) AS (\S+)", rest).groups()  # type: ignore[union-attr]
            stage = found[name] = Stage(name, base)
        elif word and found:
            stage.steps.append((word, rest))
    return found


class Scratch:
    """A folder in which stages are made. Every stage that another begins with is in it already: they only add."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.env = {"PATH": f"{Path(sys._base_executable).parent}:/usr/bin:/bin", "HOME": str(folder)}  # type: ignore[attr-defined]
        # Which the base image has under this name.
        (folder / "bin").mkdir(parents=True)
        (folder / "bin" / "python").symlink_to(sys._base_executable)  # type: ignore[attr-defined]
        self.env["PATH"] = f"{folder / 'bin'}:{self.env['PATH']}"
        self.at = folder

    def make(self, stage: Stage) -> None:
        """Do what the stage's instructions say."""
        for word, rest in stage.steps:
            match word:
                case "ENV":
                    self.env |= dict(
                        one.partition("=")[::2] for one in shlex.split(self._moved(rest)) if "PATH=" not in one
                    )
                case "WORKDIR":
                    self.at = Path(self._moved(rest))
                    self.at.mkdir(parents=True, exist_ok=True)
                case "COPY" if not rest.startswith("--from="):
                    self._copy(rest.split())
                case "RUN":
                    done = subprocess.run(
                        ["/bin/sh", "-c", self._moved(rest)],
                        cwd=self.at,
                        env=self.env,
                        capture_output=True,
                        text=True,
                        timeout=400,
                        check=False,
                    )
                    assert done.returncode == 0, f"{rest}\n{done.stdout}\n{done.stderr}"

    def _copy(self, words: list[str]) -> None:
        *sources, target = words
        for source in sources:
            assert included(source), f"{source} is not in the context: .dockerignore"
            where = self.at / target
            if (ROOT / source).is_dir():
                shutil.copytree(ROOT / source, where, ignore=shutil.ignore_patterns("__pycache__"), dirs_exist_ok=True)
            else:
                into = where / Path(source).name if target.endswith("/") else where
                into.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(ROOT / source, into)

    def _moved(self, text: str) -> str:
        for place in PLACES:
            text = re.sub(rf"(?<![\w/]){place}", f"{self.folder}{place}", text)
        return text

    def run(self, command: str, *words: str, env: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
        """Run the image's entry point, without anything of ours on its path."""
        program = self.folder / "opt" / "gateway" / "bin" / "ringcloud-gateway"
        clean = {"PATH": os.defpath, "HOME": str(self.folder), **(env or {})}
        return subprocess.run(
            [program, command, *words],
            cwd=self.folder,
            env=clean,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )


def included(path: str) -> bool:
    """Whether .dockerignore, which names what is let in, lets a path in."""
    lines = (ROOT / ".dockerignore").read_text(encoding="utf-8").split()
    assert lines[0] == "*"
    return any(
        fnmatch.fnmatch(path, line[1:]) or path.startswith(f"{line[1:]}/") for line in lines if line.startswith("!")
    )
