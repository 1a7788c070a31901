"""The command line: what it says, and with which exit status."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from gateway.cli import main

CONFIG = """
[[accounts]]
id = 1000
keys = [{ key = "env:RINGCLOUD_TEST_KEY", password = "env:RINGCLOUD_TEST_PASSWORD" }]
"""
KEY = CONFIG[CONFIG.index("{") : CONFIG.index("}") + 1]
TWICE = CONFIG.replace(KEY, f"{KEY}, {KEY}")
SECRETS = {"RINGCLOUD_TEST_KEY": "1000_body", "RINGCLOUD_TEST_PASSWORD": "hush"}


def commands(command: click.Command, *path: str) -> Iterator[tuple[str, ...]]:
    """The words of every command, groups included."""
    yield path
    if isinstance(command, click.Group):
        for name, inner in command.commands.items():
            yield from commands(inner, *path, name)


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "gateway.toml"
    path.write_text(CONFIG, encoding="utf-8")
    return path


@pytest.mark.parametrize("words", list(commands(main)), ids=lambda words: " ".join(words) or "ringcloud-gateway")
@pytest.mark.parametrize("option", ["--help", "-h"])
def test_every_command_has_help(words: tuple[str, ...], option: str) -> None:
    result = CliRunner().invoke(main, [*words, option])
    assert result.exit_code == 0
    assert result.output.startswith("Usage: ")
    # A sentence of its own under the usage line.
    assert result.output.splitlines()[2].strip()


def test_a_right_configuration_is_right(config: Path) -> None:
    result = CliRunner(env=SECRETS).invoke(main, ["check", str(config)])
    assert result.exit_code == 0
    assert result.output == f"{config}: right: 1 accounts, 0 endpoints\n"


ALL = (
    CONFIG
    + """
[[endpoints]]
id = "crm"
url = "https://crm.example.com"
secrets = ["env:CRM_TEST_SECRET"]
[[api.tokens]]
name = "tests"
token = "env:API_TEST_TOKEN"
scopes = ["read"]
[kafka]
security_protocol = "SASL_SSL"
username = "env:KAFKA_TEST_USER"
password = "env:KAFKA_TEST_PASSWORD"
"""
)
OF_SERVICE = {
    "poll": SECRETS,
    "streams": {"CRM_TEST_SECRET": "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD"},
    "api": {"API_TEST_TOKEN": "a-token-of-the-tests"},
    "topics": {},
}
KAFKA = {"KAFKA_TEST_USER": "somebody", "KAFKA_TEST_PASSWORD": "hush"}


@pytest.mark.parametrize("service", OF_SERVICE)
def test_a_service_s_own_secrets_are_checked_and_no_other(config: Path, service: str) -> None:
    config.write_text(ALL, encoding="utf-8")
    needed = {**OF_SERVICE[service], **KAFKA}
    result = CliRunner(env=needed).invoke(main, ["check", "--service", service, str(config)])
    assert (result.exit_code, result.output) == (0, f"{config}: right: 1 accounts, 1 endpoints\n")
    for name in needed:
        lacking = CliRunner(env={**needed, name: None}).invoke(main, ["check", "--service", service, str(config)])
        assert lacking.exit_code == 1
        assert f"variable {name} is not set" in lacking.output


@pytest.mark.parametrize(
    ("text", "env", "said"),
    [
        ("[kafka]\nshards = 0", {}, "kafka.shards: Expected `int` >= 1"),
        ("[kafka]\nshard = 1", {}, "kafka.shard: is not known"),
        (CONFIG, {"RINGCLOUD_TEST_KEY": None}, "accounts[0].keys[0].key: variable RINGCLOUD_TEST_KEY is not set"),
        (CONFIG, {"RINGCLOUD_TEST_KEY": "1001_body"}, "accounts[0].keys[0].key: is not a key of account 1000"),
        (CONFIG, {"RINGCLOUD_TEST_PASSWORD": ""}, "accounts[0].keys[0].password: is empty"),
        (TWICE, {}, "accounts[0].keys[1].key: is the same key as that of keys[0]"),
        ("[kafka", {}, "not TOML"),
    ],
)
def test_a_wrong_configuration_exits_1_and_names_the_field(
    config: Path, text: str, env: dict[str, str | None], said: str
) -> None:
    config.write_text(text, encoding="utf-8")
    result = CliRunner(env={**SECRETS, **env}).invoke(main, ["check", str(config)])
    assert result.exit_code == 1
    assert result.output.startswith("Error: ")
    assert said in result.output
    assert "body" not in result.output
    assert "hush" not in result.output


@pytest.mark.parametrize("number", ["nan", "inf", "-inf"])
@pytest.mark.parametrize(
    "words",
    [["dev", "--duration"], ["commands", "originate", "--expires-in"], ["listen", "--fail-rate"]],
    ids=lambda words: words[-1],
)
def test_a_number_is_a_finite_one(words: list[str], number: str) -> None:
    result = CliRunner().invoke(main, [*words, number])
    assert result.exit_code == 2
    assert f"Invalid value for '{words[-1]}'" in result.output


@pytest.mark.parametrize("command", ["check", "poll", "streams"])
def test_a_configuration_that_is_not_there_exits_1(command: str, tmp_path: Path) -> None:
    path = tmp_path / "none.toml"
    result = CliRunner().invoke(main, [command, str(path)])
    assert result.exit_code == 1
    assert result.output == f"Error: {path}: No such file or directory\n"


def test_the_installed_command_checks(config: Path) -> None:
    command = Path(sys.executable).with_name("ringcloud-gateway")
    config.write_text("[log]\nlevel = 'loud'\n", encoding="utf-8")
    done = subprocess.run([str(command), "check", str(config)], capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 1
    assert done.stderr == f"Error: {config}: log.level: Invalid enum value 'loud'\n"
    assert done.stdout == ""


@pytest.mark.parametrize("broker", ["nonsense", "Kafka", ":9092", "localhost:", "localhost:kafka", ""])
def test_a_broker_is_embedded_kafka_or_an_address(broker: str) -> None:
    result = CliRunner().invoke(main, ["dev", "--broker", broker])
    assert result.exit_code == 2
    assert "Invalid value for --broker: is embedded, kafka or HOST:PORT" in result.output


@pytest.mark.parametrize(
    ("option", "value"),
    [("--duration", "9"), ("--calls-per-minute", "-1"), ("--accounts", "0"), ("--accounts", "201"), ("--seed", "x")],
)
def test_the_demo_s_options_have_bounds(option: str, value: str) -> None:
    result = CliRunner().invoke(main, ["dev", option, value])
    assert result.exit_code == 2
    assert option in result.output


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"--num": "7-495"}, "num"),
        ({"--num": ""}, "num"),
        ({"--user": ""}, "user"),
        ({"--account": "0"}, "account"),
        ({"--id": "a.b"}, "id"),
    ],
)
def test_a_command_that_can_t_be_is_a_usage_error_naming_the_field(changes: dict[str, str], field: str) -> None:
    given = {"--account": "1000", "--user": "anna", "--num": "74950001122", **changes}
    words = [word for pair in given.items() for word in pair]
    result = CliRunner().invoke(main, ["commands", "originate", *words])
    assert result.exit_code == 2
    assert f"Error: {field}: " in result.output


@pytest.mark.parametrize("seconds", ["-1", "86401", "inf", "soon"])
def test_a_command_expires_within_a_day(seconds: str) -> None:
    words = ["--account", "1000", "--user", "anna", "--num", "1", "--expires-in", seconds]
    result = CliRunner().invoke(main, ["commands", "originate", *words])
    assert result.exit_code == 2
    assert "--expires-in" in result.output
