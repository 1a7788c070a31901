"""The example file: right as it stands, and it documents every setting with its default."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from gateway.config import AccountConfig, Config, load
from gateway.contract.endpoints import Endpoint
from gateway.service import check_credentials
from streams.delivery.targets import targets_of

EXAMPLE = Path(__file__).parents[3] / "gateway.example.toml"


def structs(type_: msgspec.inspect.Type, path: str = "") -> Iterator[tuple[str, str, bool]]:
    """Every setting of a configuration: the path of its table, its name, and whether it is a table itself."""
    if isinstance(type_, msgspec.inspect.VarTupleType):
        yield from structs(type_.item_type, path)
    elif isinstance(type_, msgspec.inspect.StructType):
        for field in type_.fields:
            inner = list(structs(field.type, f"{path}.{field.name}".lstrip(".")))
            yield path, field.name, bool(inner)
            yield from inner


SETTINGS = list(structs(msgspec.inspect.type_info(Config)))


def test_the_example_is_right(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RINGCLOUD_1000_KEY", "1000_body")
    monkeypatch.setenv("RINGCLOUD_1000_PASSWORD", "hush")
    monkeypatch.setenv("CRM_WEBHOOK_SECRET", "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD")
    config = load(EXAMPLE)
    check_credentials(config)
    targets_of(config.endpoints)
    assert config.accounts
    assert config.endpoints


def test_there_are_settings_of_every_depth() -> None:
    assert ("", "kafka", True) in SETTINGS
    assert ("kafka", "shards", False) in SETTINGS
    assert ("accounts.keys", "password", False) in SETTINGS
    assert len(SETTINGS) > 30


@pytest.mark.parametrize(("table", "name", "is_table"), SETTINGS, ids=[f"{path}.{name}" for path, name, _ in SETTINGS])
def test_every_setting_is_documented(table: str, name: str, is_table: bool) -> None:
    text = EXAMPLE.read_text(encoding="utf-8")
    written = rf"^\s*#?\s*({{.*)?\b{name} = "
    if is_table:
        path = f"{table}.{name}".lstrip(".")
        written = rf"^#?\s*\[{{1,2}}{re.escape(path)}\]{{1,2}}$|{written}"
    elif table and "." not in table:
        _, _, text = text.partition(f"[{table}]")
        text = re.split(r"^\[", text, flags=re.MULTILINE)[0]
    assert re.search(written, text, re.MULTILINE)


def test_the_values_shown_are_the_defaults() -> None:
    config = load(EXAMPLE)
    assert msgspec.structs.replace(config, accounts=(), endpoints=()) == Config()
    shown: list[tuple[Any, type]] = [(config.accounts[0], AccountConfig), (config.endpoints[0], Endpoint)]
    for one, type_ in shown:
        for field in msgspec.structs.fields(type_):
            if not field.required:
                made = field.default_factory() if callable(field.default_factory) else field.default
                assert getattr(one, field.name) == made
