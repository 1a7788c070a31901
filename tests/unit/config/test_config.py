"""The configuration: what is wrong in it is told by file and field, and no secret is ever repeated."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.config import Config, ConfigError, account_of, load, secret
from gateway.service import check_credentials
from streams.delivery.targets import targets_of

# What a person might paste where a reference belongs.
LITERAL = "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD"
ACCOUNT = '[[accounts]]\nid = 1000\nkeys = [{ key = "env:KEY", password = "env:PASSWORD" }]\n'
ENDPOINT = '[[endpoints]]\nid = "crm"\nurl = "https://crm.example.com/"\nsecrets = ["env:CRM"]\n'


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "gateway.toml"


def loaded(path: Path, text: str) -> Config:
    path.write_text(text, encoding="utf-8")
    return load(path)


def error_of(path: Path, text: str) -> ConfigError:
    path.write_text(text, encoding="utf-8")
    with pytest.raises(ConfigError) as caught:
        load(path)
    return caught.value


def test_an_empty_file_is_all_defaults(path: Path) -> None:
    assert loaded(path, "") == Config()


def test_a_whole_file_is_read(path: Path) -> None:
    config = loaded(path, ACCOUNT + ENDPOINT + "[kafka]\nshards = 8\n[calls]\nabsence_grace = 90\n")
    assert config.kafka.shards == 8
    assert config.calls.absence_grace == 90
    assert config.accounts[0].keys[0].password == "env:PASSWORD"
    assert config.endpoints[0].secrets == ("env:CRM",)


@pytest.mark.parametrize(
    ("text", "field"),
    [
        ("shards = 8", "shards"),
        ("[kafka]\nshard = 8", "kafka.shard"),
        ("[ringcloud]\nbase-url = 'https://x'", "ringcloud.base-url"),
        (ACCOUNT + "zone = 'UTC'", "accounts[0].zone"),
        (ACCOUNT.replace("password", "passwort"), "accounts[0].keys[0].passwort"),
        (ENDPOINT + "retry = 3", "endpoints[0].retry"),
    ],
)
def test_an_unknown_setting_is_named(path: Path, text: str, field: str) -> None:
    error = error_of(path, text)
    assert str(error) == f"{path}: {field}: is not known"
    assert error.field == field


@pytest.mark.parametrize(
    ("text", "field"),
    [
        ("[[accounts]]\nid = 1", "accounts[0].keys"),
        (ACCOUNT.replace(', password = "env:PASSWORD"', ""), "accounts[0].keys[0].password"),
        (ACCOUNT + "[[accounts]]\n", "accounts[1].id"),
        (ENDPOINT.replace("id =", "# id ="), "endpoints[0].id"),
    ],
)
def test_a_missing_setting_is_named(path: Path, text: str, field: str) -> None:
    assert str(error_of(path, text)) == f"{path}: {field}: is missing"


@pytest.mark.parametrize(
    ("text", "field"),
    [
        ("kafka = 1", "kafka"),
        ("accounts = {}", "accounts"),
        ("[kafka]\nshards = '8'", "kafka.shards"),
        ("[kafka]\nshards = 0", "kafka.shards"),
        ("[kafka]\nshards = 99999999999999999999999999", "kafka.shards"),
        ("[kafka]\nprefix = 'a b'", "kafka.prefix"),
        ('[kafka]\nprefix = "a\\n"', "kafka.prefix"),
        ("[ringcloud]\nbase_url = 'api.ringcloud.ru'", "ringcloud.base_url"),
        ("[ringcloud]\ncompleted_path = 'completed'", "ringcloud.completed_path"),
        ("[ringcloud]\ntimeout = 0", "ringcloud.timeout"),
        ("[calls]\nabsence_grace = nan", "calls.absence_grace"),
        ("[calls]\nabsence_grace = inf", "calls.absence_grace"),
        ("[calls]\nanswered_statuses = 'up'", "calls.answered_statuses"),
        ("[calls]\nanswered_statuses = ['up', 1]", "calls.answered_statuses[1]"),
        (ACCOUNT.replace("1000", "'1000'"), "accounts[0].id"),
        (ACCOUNT + "[[accounts]]\nid = 2\nkeys = []", "accounts[1].keys"),
        (ENDPOINT + "events = ['call.ended', 'call.begun']", "endpoints[0].events[1]"),
        (ENDPOINT + "timeout = 16", "endpoints[0].timeout"),
        (ENDPOINT + "filter = 'data.source == `1`'", "endpoints[0].filter"),
        (ENDPOINT.replace("crm", "CRM"), "endpoints[0].id"),
        ("[metrics]\ngateway = '9464'", "metrics.gateway"),
        ("[metrics]\nstreams = ':99999'", "metrics.streams"),
        ("[log]\nlevel = 'loud'", "log.level"),
    ],
)
def test_a_wrong_value_is_named(path: Path, text: str, field: str) -> None:
    error = error_of(path, text)
    assert error.field == field
    assert str(error).startswith(f"{path}: {field}: ")


def test_accounts_and_endpoints_have_ids_of_their_own(path: Path) -> None:
    error = error_of(path, ACCOUNT + ACCOUNT.replace("1000", "1001") + ACCOUNT)
    assert str(error) == f"{path}: accounts[2].id: 1000 is already the id of accounts[0]"
    error = error_of(path, ENDPOINT * 2)
    assert str(error) == f"{path}: endpoints[1].id: 'crm' is already the id of endpoints[0]"


@pytest.mark.parametrize("zone", ["Mars/Olympus", "", "Europe", "../../etc/passwd", "x" * 5_000])
def test_a_zone_that_does_not_exist_is_named(path: Path, zone: str) -> None:
    error = error_of(path, f"{ACCOUNT}time_zone = '{zone}'")
    assert error.field == "accounts[0].time_zone"


@pytest.mark.parametrize("network", ["10.0.0.1/8", "10.0.0.0/33", "localhost", ""])
def test_a_wrong_network_is_named(path: Path, network: str) -> None:
    error = error_of(path, f"[delivery]\nallow_networks = ['10.0.0.0/8', '::1', '{network}']")
    assert error.field == "delivery.allow_networks[2]"


@pytest.mark.parametrize(
    "reference", [LITERAL, f"env:{LITERAL}", "env:", "file:", "ENV:KEY", "env:1KEY", r"env:KEY\n", ""]
)
@pytest.mark.parametrize(
    ("text", "field"),
    [
        (ACCOUNT.replace("env:KEY", "REFERENCE"), "accounts[0].keys[0].key"),
        (ACCOUNT.replace("env:PASSWORD", "REFERENCE"), "accounts[0].keys[0].password"),
        (ENDPOINT.replace("env:CRM", "REFERENCE"), "endpoints[0].secrets[0]"),
    ],
)
def test_a_wrong_reference_is_named_but_never_repeated(path: Path, text: str, field: str, reference: str) -> None:
    error = error_of(path, text.replace("REFERENCE", reference))
    assert str(error) == f"{path}: {field}: must be env:NAME or file:PATH"


@pytest.mark.parametrize(
    "text",
    [
        ENDPOINT.replace('["env:CRM"]', f'"{LITERAL}"'),
        ENDPOINT.replace('["env:CRM"]', f'[["{LITERAL}"]]'),
        ENDPOINT.replace('["env:CRM"]', f'["{LITERAL}]'),
        ENDPOINT.replace("secrets", "secret").replace("env:CRM", LITERAL),
        ACCOUNT.replace('"env:KEY"', f'["{LITERAL}"]'),
        ACCOUNT.replace("1000", f'"{LITERAL}"'),
    ],
)
def test_a_secret_in_the_wrong_place_is_never_repeated(path: Path, text: str) -> None:
    assert "C2FV" not in str(error_of(path, text))


@pytest.mark.parametrize("text", ["[kafka", "a = ", "[kafka]\nshards = 1\nshards = 2"])
def test_what_is_no_toml_is_told(path: Path, text: str) -> None:
    assert str(error_of(path, text)).startswith(f"{path}: not TOML: ")


def test_what_is_no_text_is_told(path: Path) -> None:
    path.write_bytes(b"\xff\xfe")
    with pytest.raises(ConfigError, match="not TOML: "):
        load(path)


def test_a_file_that_can_t_be_read_is_told(path: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=f"{path}: No such file or directory"):
        load(path)
    with pytest.raises(ConfigError, match=f"{tmp_path}: Is a directory"):
        load(tmp_path)


def test_a_secret_comes_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RINGCLOUD_TEST_SECRET", " hush\n")
    assert secret("env:RINGCLOUD_TEST_SECRET", "a.b") == "hush"


def test_a_secret_comes_from_a_file(tmp_path: Path) -> None:
    file = tmp_path / "a secret: of mine"
    file.write_text("hush\n", encoding="utf-8")
    assert secret(f"file:{file}", "a.b") == "hush"


def test_a_variable_that_is_not_set_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RINGCLOUD_TEST_SECRET", raising=False)
    with pytest.raises(ConfigError, match=r"a\.b: variable RINGCLOUD_TEST_SECRET is not set"):
        secret("env:RINGCLOUD_TEST_SECRET", "a.b")


def test_a_file_without_a_secret_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"nothing: a\.b: No such file or directory"):
        secret(f"file:{tmp_path}/nothing", "a.b")
    with pytest.raises(ConfigError, match=r"a\.b: Is a directory"):
        secret(f"file:{tmp_path}", "a.b")
    (tmp_path / "bytes").write_bytes(b"\xff")
    with pytest.raises(ConfigError, match=r"a\.b: not readable as text"):
        secret(f"file:{tmp_path}/bytes", "a.b")


@pytest.mark.parametrize("empty", ["", "  \n"])
def test_an_empty_secret_is_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, empty: str) -> None:
    monkeypatch.setenv("RINGCLOUD_TEST_SECRET", empty)
    with pytest.raises(ConfigError, match=r"a\.b: is empty"):
        secret("env:RINGCLOUD_TEST_SECRET", "a.b")
    (tmp_path / "empty").write_text(empty, encoding="utf-8")
    with pytest.raises(ConfigError, match=r"a\.b: is empty"):
        secret(f"file:{tmp_path}/empty", "a.b")


@pytest.mark.parametrize(
    "key", ["1001_body", "body", "_body", "1000", "1000-body", "１０００_body", "9" * 5_000 + "_body"]
)
def test_a_key_of_another_account_is_named_but_not_repeated(
    monkeypatch: pytest.MonkeyPatch, path: Path, key: str
) -> None:
    monkeypatch.setenv("KEY", key)
    monkeypatch.setenv("PASSWORD", "hush")
    config = loaded(path, ACCOUNT)
    with pytest.raises(ConfigError, match=r"accounts\[0\]\.keys\[0\]\.key: is not a key of account 1000") as caught:
        check_credentials(config)
    assert key not in str(caught.value).replace("accounts[0].keys[0].key: is not a key of account 1000", "")


def test_each_key_and_password_is_read_by_the_check(monkeypatch: pytest.MonkeyPatch, path: Path) -> None:
    config = loaded(path, ACCOUNT)
    for name, value in [("KEY", "1000_body"), ("PASSWORD", "hush")]:
        monkeypatch.delenv(name, raising=False)
        with pytest.raises(ConfigError, match=rf"accounts\[0\]\.keys\[0\]\.{name.lower()}: variable {name} is not set"):
            check_credentials(config)
        monkeypatch.setenv(name, value)
    check_credentials(config)


def test_each_signing_secret_is_read_by_the_check(monkeypatch: pytest.MonkeyPatch, path: Path) -> None:
    config = loaded(path, ENDPOINT)
    monkeypatch.delenv("CRM", raising=False)
    with pytest.raises(ConfigError, match=r"endpoints\[0\]\.secrets\[0\]: variable CRM is not set"):
        targets_of(config.endpoints)
    monkeypatch.setenv("CRM", "hush, but no signing secret")
    with pytest.raises(ConfigError, match=r"endpoints\[0\]\.secrets\[0\]") as caught:
        targets_of(config.endpoints)
    assert "hush" not in str(caught.value)
    monkeypatch.setenv("CRM", LITERAL)
    assert len(targets_of(config.endpoints)) == 1


@given(st.integers(0, 10**12), st.text(max_size=10))
def test_the_account_of_a_key_stands_before_its_first_underscore(account: int, body: str) -> None:
    assert account_of(f"{account}_{body}") == account


@pytest.mark.parametrize(
    "key", ["", "_", "1000", "_1000", "a_1", "1 _a", "-1_a", "+1_a", "1.0_a", "²_a", "9" * 5_000 + "_a"]
)
def test_what_is_no_key_has_no_account(key: str) -> None:
    assert account_of(key) is None
