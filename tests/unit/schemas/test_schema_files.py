"""The committed documents: current, valid, and what the command writes."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner
from jsonschema import Draft202012Validator

from gateway.cli import main
from tests.unit.schemas.judge import COMMITTED, FORMATS, schema

SCHEMAS = sorted(path.stem for path in COMMITTED.glob("*.json") if path.stem != "asyncapi")


def test_what_is_committed_is_what_the_command_writes(tmp_path: Path) -> None:
    """Where this fails: `ringcloud-gateway schemas docs/schemas`."""
    directory = tmp_path / "deep" / "er"
    result = CliRunner().invoke(main, ["schemas", str(directory)])
    assert result.exit_code == 0
    assert sorted(result.output.split()) == sorted(str(path) for path in directory.iterdir())
    written, committed = (
        {path.name: path.read_text(encoding="utf-8") for path in where.iterdir()} for where in (directory, COMMITTED)
    )
    assert written.keys() == committed.keys()
    for name, text in written.items():
        assert text == committed[name], f"{name} is stale: ringcloud-gateway schemas docs/schemas"


def test_a_directory_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("", encoding="utf-8")
    result = CliRunner().invoke(main, ["schemas", str(tmp_path / "file" / "in")])
    assert result.exit_code == 1
    assert result.output == f"Error: {tmp_path / 'file' / 'in'}: Not a directory\n"


@pytest.mark.parametrize("name", SCHEMAS)
def test_a_schema_is_valid(name: str) -> None:
    Draft202012Validator.check_schema(schema(name), format_checker=FORMATS)


@pytest.mark.parametrize("name", SCHEMAS)
def test_a_schema_is_complete_in_itself_and_says_what_it_is_of(name: str) -> None:
    found = schema(name)
    assert found["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    assert found["title"]
    assert set(_values(found, "$ref")) == {f"#/$defs/{inner}" for inner in found["$defs"]}


def _values(within: object, keyword: str) -> list[str]:
    if isinstance(within, list):
        return [value for one in within for value in _values(one, keyword)]
    if not isinstance(within, dict):
        return []
    here = [within[keyword]] if isinstance(within.get(keyword), str) else []
    return [*here, *_values(list(within.values()), keyword)]
