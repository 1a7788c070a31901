"""Renews the list of rights in docs/security.md, which is deploy/kafka/acls.csv as a table."""

from __future__ import annotations

import csv
from pathlib import Path

_ROOT = Path(__file__).parents[1]
PAGE = _ROOT / "docs" / "security.md"
_BEGIN, _END = "<!-- made of deploy/kafka/acls.csv by `make schemas` -->\n\n", "\n<!-- end -->\n"


def page() -> str:
    """The page as it should be."""
    before, _, rest = PAGE.read_text(encoding="utf-8").partition(_BEGIN)
    _, _, after = rest.partition(_END)
    return before + _BEGIN + _table() + _END + after


def _table() -> str:
    with (_ROOT / "deploy" / "kafka" / "acls.csv").open(newline="", encoding="utf-8") as lines:
        rows = list(csv.DictReader(lines))
    parts = ["| user | resource | pattern | name | operations |", "|---|---|---|---|---|"]
    parts += [
        f"| `{row['user']}` | {row['resource']} | {row['pattern']} | `{row['name']}` | {row['operations']} |"
        for row in rows
    ]
    return "\n".join(parts) + "\n"


def main() -> None:
    """Write it."""
    PAGE.write_text(page(), encoding="utf-8")


if __name__ == "__main__":
    main()
