"""The report: every claim with its verdict, people's words beside the figures, plots that don't change by themselves."""

from datetime import UTC, datetime
from pathlib import Path
from xml.etree import ElementTree

import msgspec

from bench.harness import RATIO, Figure, Machine, Result, Verdict, at_least, at_most
from bench.report import make


def result(name: str, *, short: bool = False) -> Result:
    return Result(
        name=name,
        what=f"What {name} is",
        unit="ms",
        measured_at=datetime(2026, 11, 25, tzinfo=UTC),
        short=short,
        settings={"runs": 3},
        machine=Machine("a processor", 2, 23.5, "Linux 6", "CPython 3.11"),
        versions={"msgspec": "0.22.0"},
        figures=[
            Figure(
                name=f"{name} | one",
                value=12.5,
                values=[12, 12.5, 14],
                ceiling=f"{name}'s floor",
                ratio=1.25,
                seen={"p50": 7.0},
                verdicts=[Verdict(at_most(10), 12.5), Verdict(at_least(1, RATIO), 1.25), Verdict(at_most(8, "p50"), 7)],
            ),
            Figure(name=f"{name}'s floor", value=10, values=[10, 10, 10], ceiling=None, ratio=None, seen={}),
        ],
    )


def made(folder: Path, *results: Result, **words: str) -> str:
    (folder / "results").mkdir()
    for one in results:
        suffix = ".short.json" if one.short else ".json"
        (folder / "results" / f"{one.name}{suffix}").write_bytes(msgspec.json.encode(one))
    for name, text in words.items():
        (folder / "results" / f"{name}.md").write_text(text, encoding="utf-8")
    return make(folder / "results", folder / "docs").read_text(encoding="utf-8")


def test_each_target_is_a_row_with_what_was_measured_and_whether_it_is_met(tmp_path: Path) -> None:
    text = made(tmp_path, result("trip"))
    rows = [line for line in text.splitlines() if line.startswith("| The whole trip: trip \\| one |")]
    assert rows == [
        "| The whole trip: trip \\| one | at most 10 | 12.50 ms | **missed** | trip's floor | 125% |",
        "| The whole trip: trip \\| one | at least 100% of its ceiling | 125% | met | trip's floor | 125% |",
        "| The whole trip: trip \\| one | p50 at most 8 | 7 | met | trip's floor | 125% |",
    ]


def test_results_come_in_the_order_of_the_claims_and_short_ones_not_at_all(tmp_path: Path) -> None:
    text = made(tmp_path, result("scale"), result("another"), result("webhooks"), result("trip", short=True))
    headings = [line for line in text.splitlines() if line.startswith("## ")]
    assert headings == ["## All claims", "## Delivery", "## Scale", "## another"]
    assert "The whole trip" not in text


def test_it_says_how_it_was_measured_and_what_people_say_to_it(tmp_path: Path) -> None:
    text = made(tmp_path, result("trip"), trip="It is short because of this.\n")
    assert "It is short because of this." in text
    assert (
        "`python -m bench.trip`, 2026-11-25. a processor, 2 cores, 23.5 GiB, Linux 6, CPython 3.11; msgspec 0.22.0. "
        "Settings: runs 3." in text
    )
    assert "![The whole trip](performance/trip.svg)" in text


def test_a_plot_is_svg_with_its_words_as_text_and_the_same_for_the_same_figures(tmp_path: Path) -> None:
    made(tmp_path, result("trip"))
    path = tmp_path / "docs" / "performance" / "trip.svg"
    first = path.read_bytes()
    words = [element.text for element in ElementTree.fromstring(first).iter("{http://www.w3.org/2000/svg}text")]  # noqa: S314 - made here
    assert "trip | one" in words
    assert "ms" in words
    (path.parent / "former.svg").write_text("of a result that is no more")
    make(tmp_path / "results", tmp_path / "docs")
    assert path.read_bytes() == first
    assert [one.name for one in path.parent.iterdir()] == ["trip.svg"]
