"""Renews docs/configuration.md: every setting, from the structs that are read and the comments of the example file."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec

from gateway.config import Config

_ROOT = Path(__file__).parents[1]
PAGE = _ROOT / "docs" / "configuration.md"
EXAMPLE = _ROOT / "gateway.example.toml"

_HEAD = """\
# Configuration

<!-- Made by `make schemas` from the structs that read the file and the comments of gateway.example.toml. -->

One TOML file for all services: `ringcloud-gateway poll FILE`, `streams FILE`, `api FILE`. Everything has a default but
what is said to be needed. `gateway.example.toml` is a whole file, with the same words. `ringcloud-gateway check FILE`
names the first field that is wrong, the secrets included.

**Secrets are references**: `env:NAME` is an environment variable, `file:PATH` a file, stripped of white space at its
ends. They are read when a service starts, and never written anywhere.

Changed settings hold from the next start. Accounts and endpoints can be declared at run time as well:
[Accounts](accounts.md), [Webhooks](webhooks.md).
"""
_TABLE = re.compile(r"^#?\s?\[{1,2}([a-z_.]+)\]{1,2}$")
_SETTING = re.compile(r"^(#\s?)?([a-z_]+) = ")


class _Comments:
    """What the example file says before each setting."""

    def __init__(self, text: str) -> None:
        self.of_table: dict[str, str] = {}
        self.of: dict[tuple[str, str], str] = {}
        table, last = "", ""
        said: list[str] = []
        for line in text.splitlines():
            if found := _TABLE.match(line):
                table = found[1]
                self.of_table[table] = " ".join(said)
                said, last = [], ""
            elif found := _SETTING.match(line):
                # What is commented out, line after line, is one example under one comment.
                last = " ".join(said) or (last if found[1] else "")
                self.of.setdefault((table, found[2]), last)
                said = []
            elif line.startswith("#"):
                said.append(line.lstrip("#").strip())
            else:
                said = []
                if not line.startswith((" ", "]")):
                    last = ""


def page() -> str:
    """The page as it should be."""
    comments = _Comments(EXAMPLE.read_text(encoding="utf-8"))
    parts = [_HEAD]
    struct, _ = _struct(msgspec.inspect.type_info(Config))
    for field in struct.fields if struct else ():
        parts += _section(field.name, field.type, comments)
    return "\n".join(parts)


def _section(path: str, type_: msgspec.inspect.Type, comments: _Comments) -> Iterator[str]:
    """A table of settings, and those inside it."""
    struct, many = _struct(type_)
    if struct is None:
        return
    yield f"## `{f'[[{path}]]' if many else f'[{path}]'}`\n"
    said = comments.of_table.get(path) or comments.of.get(_split(path), "")
    if said:
        yield f"{_sentence(said)}\n"
    yield "| setting | what it may be | default | |\n|---|---|---|---|"
    inner: list[tuple[str, msgspec.inspect.Type]] = []
    for field in struct.fields:
        if _struct(field.type)[0] is not None:
            inner.append((f"{path}.{field.name}", field.type))
        text = comments.of.get((path, field.name)) or _described(field.type) or ""
        yield f"| `{field.name}` | {_cell(_words(field.type))} | {_cell(_default(field))} | {_cell(_sentence(text))} |"
    yield ""
    for name, of in inner:
        yield from _section(name, of, comments)


def _split(path: str) -> tuple[str, str]:
    table, _, name = path.rpartition(".")
    return table, name


def _struct(type_: msgspec.inspect.Type) -> tuple[msgspec.inspect.StructType | None, bool]:
    """The struct that a type is, or is a list of; and whether it is a list."""
    match _plain(type_):
        case msgspec.inspect.StructType() as found:
            return found, False
        case msgspec.inspect.VarTupleType(item_type=item):
            return _struct(item)[0], True
    return None, False


def _plain(type_: msgspec.inspect.Type) -> msgspec.inspect.Type:
    """Without its description and without null."""
    if isinstance(type_, msgspec.inspect.Metadata):
        return _plain(type_.type)
    if isinstance(type_, msgspec.inspect.UnionType):
        left = [one for one in type_.types if not isinstance(one, msgspec.inspect.NoneType)]
        if len(left) == 1:
            return _plain(left[0])
    return type_


def _described(type_: msgspec.inspect.Type) -> str | None:
    if isinstance(type_, msgspec.inspect.Metadata):
        found = (type_.extra_json_schema or {}).get("description")
        return found or _described(type_.type)
    return None


def _words(type_: msgspec.inspect.Type) -> str:
    match _plain(type_):
        case msgspec.inspect.BoolType():
            return "true or false"
        case msgspec.inspect.IntType() | msgspec.inspect.FloatType() as number:
            return ("integer" if isinstance(number, msgspec.inspect.IntType) else "number") + _bounds(number)
        case msgspec.inspect.LiteralType(values=values):
            return ", ".join(f"`{value}`" for value in values)
        case msgspec.inspect.StrType(pattern=pattern):
            return _form(pattern or "")
        case msgspec.inspect.DateTimeType():
            return "time"
        case msgspec.inspect.VarTupleType(item_type=item, max_length=most):
            some = "list" if most is None else f"list, {most:,} at most"
            inner = _words(item)
            return some if inner == "table" else f"{some}: {inner}"
        case msgspec.inspect.UnionType(types=types):
            return " or ".join(_words(one) for one in types)
        case msgspec.inspect.DictType(value_type=value):
            return f"table: {_words(value)}"
        case msgspec.inspect.StructType():
            return "table"
    raise TypeError(f"no words for {type_}")


def _form(pattern: str) -> str:
    for part, words in (("^(env:", "`env:NAME` or `file:PATH`"), ("^file:", "`file:PATH`"), ("https?://", "URL")):
        if pattern.startswith(part) or (part == "https?://" and part in pattern):
            return words
    return "text"


def _bounds(number: Any) -> str:
    low = f"{number.ge:,}" if number.ge is not None else f"above {number.gt:,}" if number.gt is not None else ""
    high = number.le if number.le is not None else number.lt
    if high is None:
        return f", {low} or more" if low else ""
    return f", {low} to {high:,}" if low else f", {high:,} at most"


def _default(field: msgspec.inspect.Field) -> str:
    if field.required:
        return "*needed*"
    made = field.default_factory() if callable(field.default_factory) else field.default
    if made is None:
        return "unset"
    if isinstance(made, msgspec.Struct):
        return ""
    # Lists and numbers are written in TOML as they are in JSON.
    return f"`{msgspec.json.encode(made).decode().replace(',', ', ')}`"


def _sentence(text: str) -> str:
    text = text.strip()
    return text if not text or text.endswith((".", "!")) else f"{text}."


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def main() -> None:
    """Write it."""
    PAGE.write_text(page(), encoding="utf-8")


if __name__ == "__main__":
    main()
