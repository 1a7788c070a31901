"""An endpoint's filter: a JMESPath expression over the event, of the part of the language whose cost is bounded."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from typing import Annotated, Any, Final

import jmespath
import msgspec
from jmespath.exceptions import JMESPathError

from gateway.contract.events import CallEvent

LONGEST: Final = 1024
# Enough for any expression of that length that people write; a chain of || is as deep as it is long.
_DEEPEST: Final = 100

Expression = Annotated[
    str,
    msgspec.Meta(
        max_length=LONGEST,
        description="JMESPath over the event in structured JSON; only what makes it true is sent. Comparisons, &&, ||, "
        "!, literals and contains, starts_with, ends_with, length, type, not_null; empty: all",
    ),
]

# What an expression may come to: an object with these fields, or a value that may be true (True) or never is (False).
_Shape = dict[str, Any] | bool
_Node = Mapping[str, Any]

# Arguments, None for any number, and whether the result may be true. Each takes a time that grows with its arguments
# and gives nothing that is larger than they are.
_FUNCTIONS: Final[dict[str, tuple[int | None, bool]]] = {
    "contains": (2, True),
    "ends_with": (2, True),
    "length": (1, False),
    "not_null": (None, True),
    "starts_with": (2, True),
    "type": (1, False),
}
_OPERATIONS: Final = {
    "filter_projection": "[?…]",
    "flatten": "[]",
    "index": "[0]",
    "index_expression": "[…]",
    "key_val_pair": "{…}",
    "multi_select_dict": "{…}",
    "multi_select_list": "[…, …]",
    "projection": "[*]",
    "slice": "[:]",
    "value_projection": "*",
    "expref": "&",
}


class FilterError(ValueError):
    """The expression can't be a filter; says why, with no more of the expression than a name."""


class Filter:
    """A compiled expression.

    JMESPath has no loops, but its lists can be made to double with each step. What is left without them (fields,
    comparisons, logic, literals, some functions) looks at each part of the expression once.
    """

    def __init__(self, expression: str) -> None:
        """Compile `expression`.

        Raises:
            FilterError: It is too long or too deep, is not JMESPath, uses what a filter may not, names a field that no
                event has, or can never be true.
        """
        if len(expression) > LONGEST:
            raise FilterError(f"is longer than {LONGEST} characters")
        try:
            # The one thing jmespath warns of is `text` for 'text'.
            with warnings.catch_warnings(action="error"):
                self._compiled = jmespath.compile(expression)
        except Warning:
            raise FilterError("is not JMESPath: a text is written 'text'; in backticks stands JSON") from None
        except JMESPathError as error:
            raise FilterError(f"is not JMESPath: {_reason(error)}") from None
        except RecursionError:
            raise FilterError("is nested too deep") from None
        if _check(self._compiled.parsed, _EVENT, _DEEPEST) is not True:
            raise FilterError("is never true: compare what it gives, as in data.src == '400'")

    def matches(self, document: Any) -> bool:
        """Whether the expression is true of an event as its JSON document. Where it fails, it is not."""
        try:
            return self._compiled.search(document) is True
        except JMESPathError:
            return False


def _check(node: _Node, shape: _Shape, depth: int) -> _Shape:
    """What `node` comes to where `shape` is current; raises FilterError where a filter may not have it."""
    if depth == 0:
        raise FilterError("is nested too deep")
    children: list[_Node] = node["children"]

    def check(child: _Node, within: _Shape = shape) -> _Shape:
        return _check(child, within, depth - 1)

    match node["type"]:
        case "field":
            return _field(str(node["value"]), shape)
        case "current" | "identity":
            return shape
        case "literal":
            return isinstance(node["value"], bool)
        case "subexpression" | "pipe":
            for child in children:
                shape = check(child, shape)
            return shape
        case "comparator" | "not_expression":
            for child in children:
                check(child)
            return True
        case "and_expression":
            check(children[0])
            return check(children[1])
        case "or_expression":
            return True in [check(child) for child in children]
        case "function_expression":
            return _call(str(node["value"]), children, check)
        case other:
            raise FilterError(f"may not have {_OPERATIONS.get(other, other)}")


def _field(name: str, shape: _Shape) -> _Shape:
    if not isinstance(shape, dict):
        raise FilterError(f"asks for {name[:64]!r} of what has no fields; where ! stands before a path, write !(a.b)")
    if name not in shape:
        raise FilterError(f"no event has a field {name[:64]!r} there; a text is written 'text'")
    found: _Shape = shape[name]
    return found


def _call(name: str, arguments: list[_Node], check: Callable[[_Node], _Shape]) -> _Shape:
    if name not in _FUNCTIONS:
        raise FilterError(f"may not call {name[:64]!r}, only {', '.join(sorted(_FUNCTIONS))}")
    wanted, may_be_true = _FUNCTIONS[name]
    if len(arguments) != wanted and (wanted is not None or not arguments):
        raise FilterError(f"calls {name} with {len(arguments)} arguments")
    shapes = [check(argument) for argument in arguments]
    return True in shapes if name == "not_null" else may_be_true


def _shape_of(type_: msgspec.inspect.Type) -> _Shape:
    match type_:
        case msgspec.inspect.Metadata(type=inner):
            return _shape_of(inner)
        case msgspec.inspect.StructType(fields=fields):
            return {field.encode_name: _shape_of(field.type) for field in fields}
        case msgspec.inspect.UnionType(types=types):
            return True in [_shape_of(one) for one in types]
        case _:
            return isinstance(type_, msgspec.inspect.BoolType)


def _reason(error: JMESPathError) -> str:
    # Its first line; the others repeat the expression.
    return str(error).partition("\n")[0].partition(", for expression")[0][:120]


_EVENT: Final = _shape_of(msgspec.inspect.type_info(CallEvent))
