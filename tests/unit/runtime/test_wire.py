"""Messages of Kafka's protocol, written and read the fast way, against aiokafka's own."""

from __future__ import annotations

import pkgutil
from collections.abc import Iterator
from importlib import import_module
from io import BytesIO
from typing import Any

import aiokafka.protocol
import pytest
from aiokafka.protocol.fetch import FetchRequest_v11, FetchResponse_v11
from aiokafka.protocol.struct import Struct
from aiokafka.protocol.types import Array, Boolean, Bytes, Float64, Int8, Int16, Int32, Int64, Schema, String, UInt32
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.runtime.wire import OtherTypeError, decoder, encoder, mend_wire

mend_wire()

_INTEGERS = {Int8: 8, Int16: 16, Int32: 32, Int64: 64}


def _kinds() -> Iterator[type[Struct]]:
    for module in pkgutil.iter_modules(aiokafka.protocol.__path__, "aiokafka.protocol."):
        import_module(module.name)
    left = [Struct]
    while left:
        kind = left.pop()
        left += kind.__subclasses__()
        if isinstance(kind.SCHEMA, Schema) and kind.encode is Struct.encode:
            yield kind


def _known(field: Any) -> bool:
    if isinstance(field, Schema):
        return all(_known(one) for one in field.fields)
    if isinstance(field, Array):
        return _known(field.array_of)
    return isinstance(field, String) or field in {*_INTEGERS, Boolean, Bytes, Float64, UInt32}


KINDS = sorted(_kinds(), key=lambda kind: kind.__name__)
FAST = [kind for kind in KINDS if _known(kind.SCHEMA)]
CODECS = {kind: (encoder(kind.SCHEMA), decoder(kind.SCHEMA)) for kind in FAST}
OTHER = [kind for kind in KINDS if not _known(kind.SCHEMA)]


def values_of(field: Any) -> st.SearchStrategy[Any]:
    """Whatever aiokafka takes for `field`."""
    if field in _INTEGERS:
        half = 2 ** (_INTEGERS[field] - 1)
        return st.integers(-half, half - 1)
    if isinstance(field, String):
        return st.none() | st.text(max_size=5)
    if isinstance(field, Schema):
        return st.tuples(*(values_of(one) for one in field.fields))
    if isinstance(field, Array):
        return st.none() | st.lists(values_of(field.array_of), max_size=3)
    if field is Bytes:
        return st.none() | st.binary(max_size=9)
    return {Boolean: st.booleans(), UInt32: st.integers(0, 2**32 - 1), Float64: st.floats(allow_nan=False)}[field]


def test_what_matters_goes_the_fast_way() -> None:
    names = {kind.__name__ for kind in FAST}
    assert {"FetchRequest_v11", "FetchResponse_v11", "ProduceRequest_v7", "ProduceResponse_v7"} <= names
    assert len(FAST) > len(OTHER)


@pytest.mark.parametrize("kind", FAST, ids=lambda kind: kind.__name__)
@given(data=st.data())
@settings(max_examples=20)
def test_it_writes_and_reads_what_aiokafka_does(kind: type[Struct], data: st.DataObject) -> None:
    values = data.draw(values_of(kind.SCHEMA))
    written = kind.SCHEMA.encode(values)
    encode, decode = CODECS[kind]
    assert encode(values) == written
    # With something before it and behind it, as where a header was read from the same buffer.
    read, end = decode(b"ab" + written + b"cd", 2)
    assert tuple(read) == kind.SCHEMA.decode(BytesIO(written)) == values
    assert end == 2 + len(written)


@given(data=st.data())
def test_a_message_goes_there_and_back(data: st.DataObject) -> None:
    kind = data.draw(st.sampled_from([FetchRequest_v11, FetchResponse_v11]))
    values = data.draw(values_of(kind.SCHEMA))
    buffer = BytesIO(b"header" + kind.SCHEMA.encode(values) + b"more")
    buffer.seek(6)
    read = kind.decode(buffer)
    assert [getattr(read, name) for name in kind.SCHEMA.names] == list(values)
    assert buffer.read() == b"more"
    assert read.encode() == kind.SCHEMA.encode(values)


@pytest.mark.parametrize("kind", OTHER, ids=lambda kind: kind.__name__)
def test_what_has_other_types_is_left_to_aiokafka(kind: type[Struct]) -> None:
    for make in (encoder, decoder):
        with pytest.raises(OtherTypeError):
            make(kind.SCHEMA)


@given(values=values_of(FetchResponse_v11.SCHEMA), missing=st.integers(1, 20))
def test_a_message_cut_short_is_aiokafkas_error(values: Any, missing: int) -> None:
    cut = FetchResponse_v11.SCHEMA.encode(values)[:-missing]
    with pytest.raises(ValueError, match=r"struct format|Buffer underrun"):
        FetchResponse_v11.decode(cut)


def test_a_value_of_another_type_is_aiokafkas_error() -> None:
    values = [-1, 500, 1, 2**31, 1, 0, -1, [("calls", [(0, -1, 7, -1, 1024)])], [], ""]
    with pytest.raises(ValueError, match="attempting to convert value: 2147483648"):
        FetchRequest_v11(*values).encode()
