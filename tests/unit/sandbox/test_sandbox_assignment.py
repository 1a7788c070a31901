"""The cheapest assignment, against trying them all."""

from itertools import permutations

from hypothesis import given
from hypothesis import strategies as st

from sandbox.assignment import assign


@st.composite
def tables(draw: st.DrawFn) -> list[list[int]]:
    """Tables with at least as many columns as rows."""
    rows = draw(st.integers(0, 5))
    columns = draw(st.integers(rows, 6))
    cost = st.integers(-5, 5) | st.just(10**12)
    return [draw(st.lists(cost, min_size=columns, max_size=columns)) for _ in range(rows)]


@given(tables())
def test_none_is_cheaper(table: list[list[int]]) -> None:
    found = assign(table)
    assert len(set(found)) == len(found) == len(table)
    columns = len(table[0]) if table else 0

    def cost(choice: tuple[int, ...]) -> int:
        return sum(row[column] for row, column in zip(table, choice, strict=True))

    assert cost(tuple(found)) == min(map(cost, permutations(range(columns), len(table))))
