"""The pictures of README and docs: there, small, of the dashboards as they are, and without anything from elsewhere."""

import re
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

from tests.dashboards.panels import DASHBOARDS, ROOT, Panel, panels
from tools.pictures_panels import Series, plotted
from tools.pictures_terminal import Screen, picture

FOLDER = ROOT / "docs" / "pictures"
PICTURES = sorted(FOLDER.glob("*"))
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
# GitHub shows more, and nobody wants to fetch it.
LARGEST = 150_000


def read(text: str) -> ET.Element:
    """The SVG's root. xml.etree.ElementTree.ParseError where it is none."""
    return ET.fromstring(text)  # noqa: S314 - it is ours


def shown() -> dict[Path, list[Path]]:
    """The pictures that pages show, with who shows them: those of the repository."""
    found: dict[Path, list[Path]] = {}
    for page in PAGES:
        for alt, target in re.findall(r"!\[([^\]]*)\]\(([^)\s]+)\)", page.read_text(encoding="utf-8")):
            assert alt, f"{page.name}: {target} says nothing to those who can't see it"
            assert "://" not in target, f"{page.name}: {target} is elsewhere"
            found.setdefault((page.parent / target).resolve(), []).append(page)
    return found


def test_every_picture_that_is_shown_exists_and_every_one_there_is_shown() -> None:
    where = shown()
    assert [str(one) for one in where if not one.is_file()] == []
    assert set(PICTURES) <= set(where)
    readme = {picture.stem for picture, pages in where.items() if ROOT / "README.md" in pages}
    assert {"demo", "calls", "gateway"} <= readme


@pytest.mark.parametrize("path", PICTURES, ids=lambda path: path.name)
def test_a_picture_is_a_small_svg_that_refers_to_nothing_outside(path: Path) -> None:
    assert path.suffix == ".svg"
    assert path.stat().st_size < LARGEST
    refers_to_nothing_outside(path.read_text(encoding="utf-8"))


def refers_to_nothing_outside(text: str) -> None:
    """Raise AssertionError unless it is an SVG that needs, runs and names nothing from elsewhere."""
    root = read(text)
    assert root.tag == "{http://www.w3.org/2000/svg}svg"
    names = {one.tag.rpartition("}")[2] for one in root.iter()}
    assert names.isdisjoint({"script", "image", "foreignObject", "a", "iframe", "animate", "set"}), names
    links = {value for one in root.iter() for name, value in one.attrib.items() if name.endswith("href")}
    assert [one for one in links if not one.startswith("#")] == []
    assert [one for one in re.findall(r"url\(\s*['\"]?([^)]*)\)", text) if not one.startswith("#")] == []
    assert "@import" not in text
    assert "<!DOCTYPE" not in text
    assert "<!ENTITY" not in text
    outside = re.sub(r'xmlns(:\w+)?="http://www\.w3\.org/[^"]*"', "", text)
    assert "://" not in outside


@pytest.mark.parametrize(
    "broken",
    [
        "<image href='https://x/y.png'/>",
        "<rect style='fill: url(https://x/y)'/>",
        "<use href='other.svg#a'/>",
        "<style>@import 'x.css';</style>",
        "<text>https://x</text>",
    ],
)
def test_one_that_did_would_be_found(broken: str) -> None:
    with pytest.raises(AssertionError):
        refers_to_nothing_outside(f'<svg xmlns="http://www.w3.org/2000/svg">{broken}</svg>')


@pytest.mark.parametrize("dashboard", [path.stem for path in DASHBOARDS])
def test_the_picture_of_a_dashboard_has_every_panel_and_no_other(dashboard: str) -> None:
    root = read((FOLDER / f"{dashboard}.svg").read_text(encoding="utf-8"))
    texts = {"".join(one.itertext()).strip() for one in root.iter("{http://www.w3.org/2000/svg}text")}
    mine = [panel for panel in panels({"$": ""}) if panel.dashboard == dashboard]
    # `make pictures` renews it.
    assert [panel.title for panel in mine if panel.title not in texts] == []


def test_the_demo_is_seen_from_its_start_to_its_totals() -> None:
    root = read((FOLDER / "demo.svg").read_text(encoding="utf-8"))
    text = "".join(root.itertext()).replace("\xa0", " ")
    for word in (
        "signed webhooks",
        "started",
        "answered",
        "ended",
        "succeeded",
        "signed",
        "snapshot to webhook",
        "429",
    ):
        assert word in text
    assert "missing" not in text


def test_a_plot_is_made_of_its_points_and_names() -> None:
    panel = Panel("calls", "Ended, <by> account", "timeseries", "short", (0, 1, 24, 8), (("{{account}}", "up"),))
    nothing = Panel("calls", "A number", "stat", "percentunit", (0, 10, 24, 8), (("one", "up"),))
    found: dict[tuple[str, str], list[Series]] = {
        (panel.title, "{{account}}"): [
            ({"account": "1000"}, [(0.0, 1.0), (60.0, float("nan")), (120.0, 3.0)]),
            ({"account": "2000"}, [(0.0, float("nan"))]),
        ],
        (nothing.title, "one"): [({}, [(0.0, 0.1), (1.0, 0.425)])],
    }
    text = plotted("RingCloud calls", [panel, nothing], found)
    refers_to_nothing_outside(text)
    assert text == plotted("RingCloud calls", [panel, nothing], found)
    words = {"".join(one.itertext()).strip() for one in read(text).iter("{http://www.w3.org/2000/svg}text")}
    assert {"Ended, <by> account", "1000", "42%", "RingCloud calls"} <= words
    assert "2000" not in words


def test_a_terminals_lines_are_those_that_stay() -> None:
    screen = Screen()
    for piece in (
        "\x1b[?25lwaiting …",
        "\r\x1b[2Kone\x1b[1",
        "m bold\x1b[0m\nlive 0  429  0",
        "\r\x1b[2Ktwo\nlive 1  429  0",
    ):
        screen.feed(piece)
    assert screen.lines == ["one\x1b[1m bold\x1b[0m", "two"]
    assert screen.bottom == "live 1  429  0"
    text = picture([*screen.lines, screen.bottom])
    refers_to_nothing_outside(text)
    assert "bold" in text
    assert "waiting" not in text
