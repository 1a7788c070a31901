"""Filters: what they take, what they refuse and with which words, and that they mean what they say."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.contract.events import CallEvent
from gateway.contract.filters import LONGEST, Filter, FilterError
from tests.unit.contract.events import ONE, call_events

Document = dict[str, Any]
# An expression, and what it is of a document as told by Python.
Case = tuple[str, Callable[[Document], bool]]


def document_of(event: CallEvent) -> Document:
    document: Document = json.loads(msgspec.json.encode(event))
    return document


def _path(path: str) -> Callable[[Document], Any]:
    def read(document: Document) -> Any:
        found: Any = document
        for name in path.split("."):
            found = found[name]
        return found

    return read


def _text_is(path: str, text: str) -> Case:
    read = _path(path)
    return f"{path} == {_raw(text)}", lambda document: read(document) == text


def _begins(path: str, text: str) -> Case:
    read = _path(path)
    return f"starts_with({path}, {_raw(text)})", lambda document: read(document).startswith(text)


def _longer(path: str, least: int) -> Case:
    read = _path(path)

    def longer(document: Document) -> bool:
        found = read(document)
        return found is not None and found > least

    return f"{path} > `{least}`", longer


def _one_of(path: str, values: list[str]) -> Case:
    read = _path(path)
    return f"contains({_literal(values)}, {path})", lambda document: read(document) in values


def _known(path: str) -> Case:
    read = _path(path)
    return f"{path} != `null`", lambda document: read(document) is not None


def _both(one: Case, other: Case) -> Case:
    return f"({one[0]} && {other[0]})", lambda document: one[1](document) and other[1](document)


def _either(one: Case, other: Case) -> Case:
    return f"({one[0]} || {other[0]})", lambda document: one[1](document) or other[1](document)


def _neither(one: Case) -> Case:
    return f"!({one[0]})", lambda document: not one[1](document)


def _raw(text: str) -> str:
    return "'" + text.replace("'", "\\'") + "'"


def _literal(value: Any) -> str:
    return "`" + json.dumps(value).replace("`", "\\`") + "`"


texts = st.text("7495+0 '`é", max_size=4)
simple = st.one_of(
    st.builds(
        _text_is, st.sampled_from(["data.src", "data.dst", "data.direction", "type"]), texts | st.just("incoming")
    ),
    st.builds(_begins, st.sampled_from(["data.src", "data.dst", "id"]), texts),
    st.builds(_longer, st.sampled_from(["data.duration", "data.sequence", "data.account"]), st.integers(0, 1000)),
    st.builds(_one_of, st.sampled_from(["data.src", "data.disposition"]), st.lists(texts, max_size=3)),
    st.builds(_known, st.sampled_from(["data.rec_file", "data.answered", "data.direction"])),
)
cases = st.recursive(
    simple,
    lambda inner: st.one_of(
        st.builds(_both, inner, inner), st.builds(_either, inner, inner), st.builds(_neither, inner)
    ),
    max_leaves=6,
)


@given(case=cases, event=call_events())
def test_a_filter_means_what_it_says(case: Case, event: CallEvent) -> None:
    expression, told = case
    document = document_of(event)
    assert Filter(expression).matches(document) is told(document)


@pytest.mark.parametrize(
    ("expression", "matches"),
    [
        ("data.src == '79001234567'", True),
        ("data.direction == 'incoming'", False),
        ("data.direction == `null`", True),
        ("data.ambiguous", False),
        ("!(data.ambiguous)", True),
        # Null is no number and no text: a comparison is not true of it, a function fails.
        ("data.duration > `60`", False),
        ("starts_with(data.disposition, 'NO')", False),
        ("!(starts_with(data.disposition, 'NO'))", False),
        ("data.answered", False),
        # What it gives is neither true nor false.
        ("data.answered || data.src", False),
        ("data.src || data.answered", False),
        ("data | src == '79001234567'", True),
        ('contains(`["400", "401"]`, data.dst)', True),
        ("type(data.rec_file) == 'null'", True),
        ("not_null(data.answered, `true`)", True),
    ],
)
def test_of_an_event_that_knows_little(expression: str, matches: bool) -> None:
    assert Filter(expression).matches(document_of(ONE)) is matches


@pytest.mark.parametrize(
    ("expression", "words"),
    [
        ("data.src ==", "is not JMESPath: Invalid jmespath expression: Incomplete expression"),
        ("data.src == 'x", "Unclosed '"),
        ("data.src == `x`", "a text is written 'text'"),
        ('data.src == "x"', "no event has a field 'x' there; a text is written 'text'"),
        ("data.source == 'x'", "no event has a field 'source' there"),
        ("src == 'x'", "no event has a field 'src' there"),
        # JMESPath takes it for (!data).answered, which is null.
        ("!data.answered", "write !(a.b)"),
        ("data.src", "is never true"),
        ("data", "is never true"),
        ("`true` && data.src", "is never true"),
        ("length(data.src)", "is never true"),
        ("data.src.length == `3`", "of what has no fields"),
        ("starts_with(data.src) == `true`", "calls starts_with with 1 arguments"),
        ("not_null()", "calls not_null with 0 arguments"),
        ("shout(data.src)", "may not call 'shout', only contains, ends_with"),
        ("to_string(data) == 'x'", "may not call 'to_string'"),
        ("data.changed[0] == 'x'", "may not have […]"),
        ("data.changed[?@ == 'x'] == `[]`", "may not have [?…]"),
        ("[@, @] == `[]`", "may not have […, …]"),
        ("{a: @} == `{}`", "may not have {…}"),
        ("data.* == `[]`", "may not have *"),
        ("!" * 1000 + "(data.answered)", "is nested too deep"),
        ("!" * 100 + "(data.answered)", "is nested too deep"),
        ("||".join(["data.answered", *["@"] * 100]), "is nested too deep"),
        ("|".join(["[@, @][]"] * 40), "may not have"),
        ("data.answered" + " " * LONGEST, f"is longer than {LONGEST} characters"),
    ],
)
def test_what_is_no_filter_is_refused_in_words(expression: str, words: str) -> None:
    with pytest.raises(FilterError) as caught:
        Filter(expression)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


WORDS = "data . src answered 'x' `1` `[1]` `null` && || ! ( ) [ ] * @ == < contains not_null length to_string sort_by"
fragments = st.sampled_from([*WORDS.split(" "), *"&,|\"`'?{:} \\"])


@given(
    expression=st.text(max_size=40) | st.lists(fragments, max_size=24).map("".join),
    event=call_events(),
)
def test_whatever_is_given_is_refused_or_answers(expression: str, event: CallEvent) -> None:
    try:
        found = Filter(expression)
    except FilterError:
        return
    assert found.matches(document_of(event)) in (True, False)


def test_the_longest_filters_answer() -> None:
    chain = " || ".join(["data.dst == '4'"] * 53)
    deep = "!" * 97 + "(data.answered)"
    many = "contains(data.src, 'x')"
    while len(many) * 2 + 6 <= LONGEST:
        many = f"({many} || {many})"
    assert len(chain) > LONGEST * 0.9
    assert len(many) > LONGEST / 2
    document = document_of(ONE)
    assert [Filter(one).matches(document) for one in (chain, deep, many)] == [False, True, False]
