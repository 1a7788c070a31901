"""Encodes and decodes aiokafka's messages a few times faster than it does by itself.

aiokafka walks the schema of a message field by field, with some calls for each integer: for a fetch of a dozen
partitions that is hundreds, and at some hundred events a second a good part of a core. Here a schema becomes a Python
function once, which reads or writes all neighbouring integers at a stroke. What cannot be done so (flexible versions,
values of other types, messages cut short) is left to aiokafka, and so is every error.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from contextlib import suppress
from io import BytesIO
from itertools import count
from typing import Any, Final

from aiokafka.protocol.struct import Struct
from aiokafka.protocol.types import Array, Boolean, Bytes, Float64, Int8, Int16, Int32, Int64, Schema, String, UInt32

Encode = Callable[[Sequence[Any]], bytes]
Decode = Callable[[bytes, int], tuple[list[Any], int]]  # what was read, and where it ends

_FIXED: Final[dict[Any, str]] = {
    Boolean: "?",
    Int8: "b",
    Int16: "h",
    Int32: "i",
    UInt32: "I",
    Int64: "q",
    Float64: "d",
}
# What a value of another type than the schema's, or a message cut short, leads to.
_BEYOND: Final = (struct.error, ValueError, TypeError, AttributeError, OverflowError)

_encode_slowly = Struct.encode
_decode_slowly = Struct.decode.__func__
_codecs: dict[type[Struct], tuple[Encode | None, Decode | None]] = {}


class OtherTypeError(Exception):
    """The schema has a field of a type that is not known here."""


class _Source:
    """The text of a function, and the names that it uses."""

    def __init__(self, head: str) -> None:
        self.names: dict[str, Any] = {}
        self._lines = [head]
        self._numbers = count()
        self._format = ""
        self._values: list[str] = []

    def name(self) -> str:
        """One that is not used yet."""
        return f"v{next(self._numbers)}"

    def add(self, depth: int, line: str) -> None:
        """A line, so many blocks deep."""
        self._lines.append(f"{'    ' * depth}{line}")

    def fixed(self, code: str, value: str) -> None:
        """An integer, together with its neighbours: the variable that it is read into, or the value to be written."""
        self._format += code
        self._values.append(value)

    def flush(self) -> tuple[str, str, int] | None:
        """What has gathered since the last time: the name of its Struct, the values, the size in bytes."""
        if not self._format:
            return None
        form = struct.Struct(f">{self._format}")
        name = f"s{next(self._numbers)}"
        self.names[name] = form
        values, self._format, self._values = self._values, "", []
        return name, "".join(f"{value}, " for value in values), form.size

    def function(self, name: str) -> Any:
        """The function of that name."""
        exec("\n".join(self._lines), self.names)  # noqa: S102 - the text is made of nothing but the schema's types
        return self.names[name]


def decoder(schema: Schema) -> Decode:
    """A function that reads a message of `schema` from a buffer, at a position; it raises struct.error or ValueError
    where that is cut short. Raises OtherTypeError."""
    source = _Source("def decode(data, at):")

    def flush(depth: int) -> None:
        if found := source.flush():
            name, values, size = found
            source.add(depth, f"{values}= {name}.unpack_from(data, at)")
            source.add(depth, f"at += {size}")

    def counted(code: str, depth: int) -> str:
        length = source.name()
        source.fixed(code, length)
        flush(depth)
        return length

    def piece(code: str, depth: int, reads: str) -> str:
        length, value = counted(code, depth), source.name()
        source.add(depth, f"{value} = None")
        source.add(depth, f"if {length} >= 0:")
        source.add(depth + 1, f"{value} = data[at:at + {length}]")
        source.add(depth + 1, f"if len({value}) != {length}: raise ValueError")
        source.add(depth + 1, f"at += {length}")
        if reads:
            source.add(depth + 1, f"{value} = {value}.decode({reads!r})")
        return value

    def read(field: Any, depth: int) -> str:
        """The lines that read `field`; returns what then has the value."""
        if field in _FIXED:
            value = source.name()
            source.fixed(_FIXED[field], value)
            return value
        if field is Bytes:
            return piece("i", depth, "")
        if isinstance(field, String):
            return piece("h", depth, field.encoding)
        if isinstance(field, Schema):
            return f"({''.join(f'{read(one, depth)}, ' for one in field.fields)})"
        if isinstance(field, Array):
            length, value = counted("i", depth), source.name()
            source.add(depth, f"{value} = None if {length} == -1 else []")
            source.add(depth, f"for _ in range({length}):")
            item = read(field.array_of, depth + 1)
            flush(depth + 1)
            source.add(depth + 1, f"{value}.append({item})")
            return value
        raise OtherTypeError

    values = [read(field, 1) for field in schema.fields]
    flush(1)
    source.add(1, f"return [{', '.join(values)}], at")
    decode: Decode = source.function("decode")
    return decode


def encoder(schema: Schema) -> Encode:
    """A function that writes the values of a message of `schema`; it raises struct.error, ValueError, TypeError,
    AttributeError or OverflowError where they are not of the schema's types. Raises OtherTypeError."""
    source = _Source("def encode(values):")

    def flush(depth: int) -> None:
        if found := source.flush():
            name, values, _ = found
            source.add(depth, f"out.append({name}.pack({values}))")

    def piece(code: str, depth: int, value: str, made: str) -> None:
        # Its length is packed with what stands before it, so that is known first.
        data, length = source.name(), source.name()
        source.add(depth, f"{data} = b'' if {value} is None else {made}")
        source.add(depth, f"{length} = -1 if {value} is None else len({data})")
        source.fixed(code, length)
        flush(depth)
        source.add(depth, f"out.append({data})")

    def write(field: Any, depth: int, value: str) -> None:
        if field in _FIXED:
            source.fixed(_FIXED[field], value)
        elif field is Bytes:
            piece("i", depth, value, value)
        elif isinstance(field, String):
            piece("h", depth, value, f"{value}.encode({field.encoding!r})")
        elif isinstance(field, Schema):
            write_all(field, depth, value)
        elif isinstance(field, Array):
            length, item = source.name(), source.name()
            source.add(depth, f"{length} = -1 if {value} is None else len({value})")
            source.fixed("i", length)
            flush(depth)
            source.add(depth, f"for {item} in {value} or ():")
            write(field.array_of, depth + 1, item)
            flush(depth + 1)
        else:
            raise OtherTypeError

    def write_all(fields: Schema, depth: int, value: str) -> None:
        names = [source.name() for _ in fields.fields]
        source.add(depth, f"[{', '.join(names)}] = {value}")
        for name, field in zip(names, fields.fields, strict=True):
            write(field, depth, name)

    source.add(1, "out = []")
    write_all(schema, 1, "values")
    flush(1)
    source.add(1, "return b''.join(out)")
    encode: Encode = source.function("encode")
    return encode


def _codec(kind: type[Struct]) -> tuple[Encode | None, Decode | None]:
    try:
        codec: tuple[Encode | None, Decode | None] = (encoder(kind.SCHEMA), decoder(kind.SCHEMA))
    except OtherTypeError:
        codec = (None, None)
    _codecs[kind] = codec
    return codec


def _encode(self: Struct) -> bytes:
    kind = type(self)
    encode, _ = _codecs.get(kind) or _codec(kind)
    if encode is not None:
        with suppress(*_BEYOND):
            return encode([self.__dict__[name] for name in kind.SCHEMA.names])
    slow: bytes = _encode_slowly(self)
    return slow


def _decode(kind: type[Struct], data: BytesIO | bytes) -> Struct:
    _, decode = _codecs.get(kind) or _codec(kind)
    if decode is not None:
        buffer, at = (data, 0) if isinstance(data, bytes) else (data.getvalue(), data.tell())
        with suppress(*_BEYOND):
            values, end = decode(buffer, at)
            if not isinstance(data, bytes):
                data.seek(end)
            return kind(*values)
    slow: Struct = _decode_slowly(kind, data)
    return slow


def mend_wire() -> None:
    """Let every message of aiokafka's in this process go this way. May be called again."""
    Struct.encode = _encode
    Struct.decode = classmethod(_decode)
