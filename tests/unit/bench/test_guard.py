"""The guard: what counts as slower, what can't be compared, and that it measures the revision it was asked for."""

import pytest

from bench.guard import GuardError, compare, judge
from bench.quick import PATHS, Measured


@pytest.mark.parametrize(
    ("here", "base", "verdict"),
    [
        ([0.50, 0.50, 0.50, 0.50], [0.50, 0.50, 0.50, 0.50], "the same"),
        ([0.44, 0.44, 0.44, 0.44], [0.50, 0.50, 0.50, 0.50], "slower"),
        ([0.46, 0.46, 0.46, 0.46], [0.50, 0.50, 0.50, 0.50], "the same"),
        ([0.60, 0.60, 0.60, 0.60], [0.50, 0.50, 0.50, 0.50], "faster"),
        # Two of four turns lost: a machine that was busy half of the time.
        ([0.30, 0.30, 0.51, 0.52], [0.50, 0.50, 0.50, 0.50], "the same"),
        ([0.30, 0.30, 0.30, 0.52], [0.50, 0.50, 0.50, 0.50], "slower"),
    ],
)
def test_slower_is_what_lost_more_than_a_tenth_and_most_turns(
    here: list[float], base: list[float], verdict: str
) -> None:
    assert judge("path", here, base).verdict == verdict


def turns(ratio: float, **failed: str) -> list[Measured]:
    ratios = {name: ratio for name in PATHS if name not in failed}
    return [Measured("/somewhere", ratios, failed)] * 4


def test_what_the_base_has_not_is_told_of_and_the_rest_compared() -> None:
    missing, *rest = PATHS
    findings, apart = compare(turns(0.4), turns(0.5, **{missing: "ImportError: no such thing"}))
    assert apart == {missing: "ImportError: no such thing"}
    assert [(one.name, one.verdict) for one in findings] == [(name, "slower") for name in rest]
    assert findings[0].change == pytest.approx(0.8)


def test_what_cannot_be_measured_here_is_an_error_that_names_it() -> None:
    broken = next(iter(PATHS))
    with pytest.raises(GuardError, match=f"{broken} cannot be measured here: ValueError: why"):
        compare(turns(0.5, **{broken: "ValueError: why"}), turns(0.5))
