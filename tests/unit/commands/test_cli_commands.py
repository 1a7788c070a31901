"""`ringcloud-gateway commands …` as far as it goes without brokers: keys, seals, and what it refuses to send."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest
from click.testing import CliRunner

from gateway.cli import main
from gateway.commands.sealing import SEALED, Opener, make_keys

CONFIG = """
[commands]
private_key = "env:COMMANDS_KEY"
"""


def test_keys_are_made_once_and_the_private_one_is_its_owner_s(tmp_path: Path) -> None:
    file = tmp_path / "private.key"
    made = CliRunner().invoke(main, ["commands", "keys", str(file)])
    assert made.exit_code == 0
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    sealed = CliRunner().invoke(main, ["commands", "seal", made.output.strip()], input="hush\nmore\n")
    assert sealed.exit_code == 0
    assert Opener(file.read_text().strip()).open(sealed.output.strip()) == "hush"
    again = CliRunner().invoke(main, ["commands", "keys", str(file)])
    assert (again.exit_code, again.output) == (1, f"Error: {file}: File exists\n")


@pytest.mark.parametrize(
    ("key", "given"), [("rgpk_", "hush\n"), (make_keys().public, "\n"), (make_keys().public, "")], ids=range(3)
)
def test_what_can_t_be_sealed_is_refused(key: str, given: str) -> None:
    result = CliRunner().invoke(main, ["commands", "seal", key], input=given)
    assert result.exit_code == 2
    assert "hush" not in result.output
    assert SEALED not in result.output


@pytest.mark.parametrize(
    ("words", "field"),
    [
        (["create-user", "--num", "350", "--mail", "a@b.c"], "num"),
        (["create-user", "--num", "450", "--mail", "nobody"], "mail"),
        (["update-extension-number", "400", "45"], "num"),
        (["update-email", "400", "nobody"], "mail"),
        (["update-password", ".."], "user"),
        (["voice-mail-box-on", ".."], "user"),
        (["voice-mail-box-off", "x" * 65], "user"),
    ],
)
def test_a_command_that_can_t_be_is_a_usage_error_naming_the_field(words: list[str], field: str) -> None:
    given = ["commands", words[0], "--account", "1000", *words[1:]]
    result = CliRunner().invoke(main, given, input="hush\n")
    assert result.exit_code == 2
    assert f"Error: {field}: " in result.output
    assert "hush" not in result.output


@pytest.mark.parametrize(("key", "said"), [("rgpk_AAAA", "begins with rgsk_"), (None, "COMMANDS_KEY is not set")])
def test_a_private_key_that_is_none_is_named_by_check(tmp_path: Path, key: str | None, said: str) -> None:
    file = tmp_path / "gateway.toml"
    file.write_text(CONFIG)
    result = CliRunner(env={"COMMANDS_KEY": key}).invoke(main, ["check", str(file)])
    assert result.exit_code == 1
    assert "commands.private_key" in result.output
    assert said in result.output
    assert "AAAA" not in result.output


def test_a_private_key_is_right(tmp_path: Path) -> None:
    file = tmp_path / "gateway.toml"
    file.write_text(CONFIG)
    result = CliRunner(env={"COMMANDS_KEY": make_keys().private}).invoke(main, ["check", str(file)])
    assert result.exit_code == 0, result.output
