"""A hook of MkDocs: pages link to files of the source, which the site has not, and to pages that it takes in by itself."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

# A link to a file that is not of the documentation: on the site its text and the file's name.
_OUTSIDE = re.compile(r"\[([^\]]*)\]\(\.\./([^)\s#]+)(#[^)]*)?\)")
_SCHEMAS = re.compile(r"\]\(schemas/?\)")


def on_config(config: Any) -> Any:
    """Put pages that the navigation doesn't name at its end."""
    named = set(_named(config.nav))
    here = {path.name for path in Path(config.docs_dir).glob("*.md")}
    if more := sorted(here - named):
        config.nav.append({"More": more})
    return config


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Say where in the source a file is, and lead to a file instead of its folder."""
    markdown = _OUTSIDE.sub(lambda found: _place(found[1], found[2]), markdown)
    return _SCHEMAS.sub("](schemas/asyncapi.json)", markdown)


def _place(text: str, path: str) -> str:
    return text if path in text else f"{text} (`{path}`)"


def _named(nav: Any) -> list[str]:
    if isinstance(nav, str):
        return [nav]
    inner = nav.values() if isinstance(nav, dict) else nav
    return [name for one in inner for name in _named(one)]
