"""The documentation: it builds strictly, fetches nothing from elsewhere, and what is made of the code is current."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path

import pytest

from tools import acls, settings

ROOT = Path(__file__).parents[3]
# What a browser loads by itself.
LOADED = {"script": "src", "link": "href", "img": "src", "iframe": "src", "source": "src"}


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(folder)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


class _Loads(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        if tag in LOADED and given.get("rel") not in ("canonical", "prev", "next"):
            self.found.append(given.get(LOADED[tag]) or "")


def loads(page: Path) -> Iterator[str]:
    parser = _Loads()
    parser.feed(page.read_text(encoding="utf-8"))
    yield from parser.found


def test_every_page_is_there(built: Path) -> None:
    pages = {path.stem for path in (ROOT / "docs").glob("*.md")}
    assert len(pages) >= 15
    assert pages <= {path.stem for path in built.glob("*.html")}


def test_nothing_is_fetched_from_elsewhere(built: Path) -> None:
    pages = list(built.rglob("*.html"))
    found = [(page.name, url) for page in pages for url in loads(page)]
    assert len(found) > len(pages)
    assert [one for one in found if re.match(r"(https?:)?//", one[1])] == []
    for sheet in built.rglob("*.css"):
        assert not re.search(r"(@import|url\()\s*[\"']?(https?:)?//", sheet.read_text(encoding="utf-8"))


def test_the_reference_of_settings_is_current() -> None:
    assert settings.PAGE.read_text(encoding="utf-8") == settings.page(), "`make schemas` renews it"


def test_every_setting_is_explained() -> None:
    rows = [line for line in settings.page().splitlines() if line.startswith("| `")]
    assert len(rows) > 60
    silent = [row.split("|")[1].strip(" `") for row in rows if not row.rsplit("|", 2)[1].strip()]
    # Their table's own words say what they are.
    assert set(silent) <= {"id", "key", "password", "name", "token", "scopes", "tokens", "streams"}


def test_the_list_of_rights_is_shown_as_it_is(built: Path) -> None:
    assert acls.PAGE.read_text(encoding="utf-8") == acls.page(), "`make schemas` renews it"
    page = (built / "security.html").read_text(encoding="utf-8")
    assert page.count("ringcloud.webhook-retries-") == 1


# A link in Markdown to something of ours, and the heading that it leads to.
_LINK = re.compile(r"\]\((?!\w+:)([^)#\s]*)(?:#([^)\s]+))?\)")


@pytest.mark.parametrize(
    "page",
    [ROOT / "README.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").glob("*.md"))],
    ids=lambda page: page.name,
)
def test_no_link_of_ours_is_dead(built: Path, page: Path) -> None:
    """On the site's own pages MkDocs looks; but not at the links that lead out of them, nor at the README's."""
    for path, anchor in _LINK.findall(page.read_text(encoding="utf-8")):
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), path
        if anchor and target.parent == ROOT / "docs":
            site = (built / f"{target.stem}.html").read_text(encoding="utf-8")
            assert f'id="{anchor}"' in site, f"{path}#{anchor}"


def test_every_page_is_in_the_navigation(built: Path) -> None:
    start = (built / "index.html").read_text(encoding="utf-8")
    assert [path.stem for path in (ROOT / "docs").glob("*.md") if f'href="{path.stem}.html"' not in start] == []
