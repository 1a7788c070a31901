"""The cheapest way to give each row of a table a column of its own (the Hungarian method)."""

from collections.abc import Sequence

_INFINITE = float("inf")


def assign(costs: Sequence[Sequence[int]]) -> list[int]:
    """The column of each row, no column twice, whose costs add up to the least.

    There are at least as many columns as rows. It takes about rows² × columns steps.
    """
    rows, columns = len(costs), len(costs[0]) if costs else 0
    # Row and column 0 stand outside the table; potentials keep every reduced cost from being negative.
    row_potential, column_potential = [0.0] * (rows + 1), [0.0] * (columns + 1)
    row_of = [0] * (columns + 1)
    for row in range(1, rows + 1):
        row_of[0] = row
        least = [_INFINITE] * (columns + 1)
        came_from = [0] * (columns + 1)
        seen = [False] * (columns + 1)
        at = 0
        # The shortest path from this row to a column that is free.
        while row_of[at]:
            seen[at] = True
            here = row_of[at]
            step, nearest = _INFINITE, 0
            for column in range(1, columns + 1):
                if seen[column]:
                    continue
                reduced = costs[here - 1][column - 1] - row_potential[here] - column_potential[column]
                if reduced < least[column]:
                    least[column], came_from[column] = reduced, at
                if least[column] < step:
                    step, nearest = least[column], column
            for column in range(columns + 1):
                if seen[column]:
                    row_potential[row_of[column]] += step
                    column_potential[column] -= step
                else:
                    least[column] -= step
            at = nearest
        while at:
            row_of[at] = row_of[came_from[at]]
            at = came_from[at]
    found = [0] * rows
    for column in range(1, columns + 1):
        if row_of[column]:
            found[row_of[column] - 1] = column - 1
    return found
