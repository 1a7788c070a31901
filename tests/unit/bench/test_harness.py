"""The harness: medians, ratios, targets of both kinds, a table that is whole, a result that can be read again."""

from collections.abc import Sequence
from pathlib import Path

import msgspec
import pytest

from bench import harness
from bench.harness import RATIO, Result, Sample, Subject, Target, Verdict, at_least, at_most, conclude, measure


def subject(
    name: str, values: Sequence[float], ceiling: str | None = None, *targets: Target, seen: Sequence[float] = ()
) -> Subject:
    samples = iter([Sample(value, {"beside": seen[n]} if seen else {}) for n, value in enumerate(values)])

    async def run() -> Sample:
        return next(samples)

    return Subject(name=name, run=run, ceiling=ceiling, targets=targets)


async def test_each_subject_is_run_in_turns_and_its_median_held_against_its_ceilings() -> None:
    order: list[str] = []

    def noting(name: str, values: list[float], ceiling: str | None = None) -> Subject:
        async def run() -> Sample:
            order.append(name)
            return Sample(values.pop(0))

        return Subject(name=name, run=run, ceiling=ceiling)

    one, two = await measure([noting("a", [1, 9, 2], "b"), noting("b", [8, 4, 7])], 3)
    assert order == ["a", "b"] * 3
    assert (one.value, one.values, one.ratio) == (2, [1, 9, 2], round(2 / 7, 3))
    assert (two.value, two.ratio) == (7, None)


async def test_a_figure_of_all_runs_together_is_made_of_their_parts_and_held_against_that_of_the_ceiling() -> None:
    def made_of(name: str, *runs: Sequence[float], ceiling: str | None = None) -> Subject:
        samples = iter([Sample(max(parts), parts=parts) for parts in runs])

        async def run() -> Sample:
            return next(samples)

        return Subject(
            name=name, run=run, ceiling=ceiling, targets=(at_most(0.5, RATIO),) if ceiling else (), of_all=sum
        )

    one, two = await measure([made_of("a", [1, 2], [3, 4], ceiling="b"), made_of("b", [5], [20])], 2)
    assert (one.value, one.values, one.ratio, one.verdicts[0].met) == (10, [2, 4], 0.4, True)
    assert (two.value, two.values) == (25, [5, 20])


@pytest.mark.parametrize(
    ("target", "met"),
    [
        (at_least(5), True),
        (at_least(5.1), False),
        (at_most(5), True),
        (at_most(4.9), False),
        (at_least(0.5, RATIO), True),
        (at_least(0.51, RATIO), False),
        (at_most(0.5, RATIO), True),
        (at_most(0.49, RATIO), False),
        (at_least(30, "beside"), True),
        (at_most(29, "beside"), False),
    ],
)
async def test_a_target_holds_for_the_value_the_ratio_or_what_was_seen(target: Target, met: bool) -> None:
    figures = await measure(
        [
            subject("measured", [4, 5, 6], "ceiling", target, seen=[20, 30, 99]),
            subject("ceiling", [10, 10, 10]),
        ],
        3,
    )
    assert [one.met for one in figures[0].verdicts] == [met]


async def test_a_target_for_something_that_nobody_saw_is_an_error() -> None:
    with pytest.raises(KeyError, match="nothing"):
        await measure([subject("measured", [1], None, at_most(1, "nothing"))], 1)


async def test_a_result_is_shown_whole_and_can_be_read_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(harness, "RESULTS", tmp_path)
    name = "a subject with a name that is longer than a terminal is wide by default, which is eighty columns or so"
    figures = await measure([subject(name, [1234.5], None, at_most(1000)), subject("b", [0.25])], 1)
    written = conclude("made", "what", "ms", figures, short=True, settings={"runs": 1}, packages=("msgspec",))
    shown = capsys.readouterr().out
    assert [line for line in shown.splitlines() if name in line and "MISSED: at most 1,000" in line]
    path = tmp_path / "made.short.json"
    assert msgspec.json.decode(path.read_bytes(), type=Result) == written
    assert written.figures[0].verdicts == [Verdict(at_most(1000), 1234.5)]
