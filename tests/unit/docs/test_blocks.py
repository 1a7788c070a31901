"""What the pages show is right: configurations load, commands exist, and Python is Python."""

from __future__ import annotations

import ast
import re
import shlex
import tempfile
from pathlib import Path

import click
import pytest

from gateway.cli import main
from gateway.config import load

DOCS = Path(__file__).parents[3] / "docs"
PAGES = (
    "getting-started",
    "concepts",
    "configuration",
    "operations",
    "security",
    "production",
    "decisions",
    "comparison",
)


def blocks(page: str, language: str) -> list[str]:
    """The code blocks of a page in a language."""
    text = (DOCS / f"{page}.md").read_text(encoding="utf-8")
    return re.findall(rf"^```{language}\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)


TOML = [(page, at) for page in PAGES for at in range(len(blocks(page, "toml")))]
COMMANDS = sorted(
    {
        line.strip().removeprefix("$ ")
        for page in PAGES
        for language in ("sh", "console")
        for block in blocks(page, language)
        for line in block.replace("\\\n", " ").splitlines()
        if line.strip().removeprefix("$ ").startswith("ringcloud-gateway ")
    }
)


def test_there_is_something_to_look_at() -> None:
    assert len(TOML) >= 4
    assert len(COMMANDS) >= 5


@pytest.mark.parametrize(("page", "at"), TOML)
def test_a_configuration_loads(page: str, at: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "gateway.toml"
        path.write_text(blocks(page, "toml")[at], encoding="utf-8")
        load(path)


@pytest.mark.parametrize("line", COMMANDS)
def test_a_command_exists_with_its_options(line: str) -> None:
    words = shlex.split(line)[1:]
    command: click.Command = main
    while isinstance(command, click.Group) and words and words[0] in command.commands:
        command = command.commands[words.pop(0)]
    assert command is not main, line
    options = {option for parameter in command.params for option in parameter.opts}
    assert [word for word in words if word.startswith("--") and word not in options] == []


def test_python_is_python() -> None:
    for page in PAGES:
        for block in blocks(page, "python"):
            ast.parse(block)
