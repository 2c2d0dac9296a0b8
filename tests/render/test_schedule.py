"""The coarse-to-fine schedule."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastsynth import ObjectiveError
from fastsynth.render import Level, schedule

sizes = st.integers(1, 5000)


def test_defaults_at_512() -> None:
    assert schedule(512, 384) == (
        Level(64, 48, 100),
        Level(128, 96, 100),
        Level(256, 192, 60),
        Level(512, 384, 60),
    )


@given(sizes, sizes)
def test_last_level_is_the_size_asked_for(height: int, width: int) -> None:
    levels = schedule(height, width)
    assert (levels[-1].height, levels[-1].width) == (height, width)
    longest = [max(level.height, level.width) for level in levels]
    assert longest == sorted(longest)
    if len(levels) > 1:
        assert longest[0] >= 32
        assert min(levels[0].height, levels[0].width) >= 15  # 16, halved and rounded
    if min(height, width) > max(height, width) / 4:
        assert longest[0] <= 128


@given(sizes, sizes, st.integers(1, 6), st.integers(6, 2000))
def test_total_is_shared_out_exactly(height: int, width: int, scales: int, total: int) -> None:
    levels = schedule(height, width, scales, total)
    assert len(levels) == scales
    assert sum(level.evaluations for level in levels) == total
    assert min(level.evaluations for level in levels) >= 1


def test_one_number_per_level() -> None:
    assert [level.evaluations for level in schedule(256, 256, 3, [5, 6, 7])] == [5, 6, 7]


def test_sizes_as_shares() -> None:
    assert schedule(300, 200, (0.25, 0.5, 0.75, 1), [4, 3, 2, 1]) == (
        Level(75, 50, 4),
        Level(150, 100, 3),
        Level(225, 150, 2),
        Level(300, 200, 1),
    )
    assert [level.evaluations for level in schedule(64, 64, [0.5, 1])] == [100, 60]
    assert schedule(64, 64, [1]) == schedule(64, 64, 1)


def test_mixed_precision_ends_with_a_level_that_is_exact() -> None:
    coarse = (Level(128, 128, 8, True), Level(256, 256, 3, True))
    assert schedule(256, 256, 2, [8, 7], mixed=True) == (
        *coarse[:1],
        Level(256, 256, 3, True),
        Level(256, 256, 4),
    )
    assert schedule(256, 256, 2, [8, 3, 9], mixed=True) == (*coarse, Level(256, 256, 9))
    # A level of one evaluation is exact.
    assert schedule(64, 64, 1, 1, mixed=True) == (Level(64, 64, 0, True), Level(64, 64, 1))


@given(sizes, sizes, st.integers(1, 6), st.integers(6, 2000))
def test_mixed_precision_spends_as_much(height: int, width: int, scales: int, total: int) -> None:
    plain = schedule(height, width, scales, total)
    mixed = schedule(height, width, scales, total, mixed=True)
    assert sum(level.evaluations for level in mixed) == total
    assert [level.size for level in mixed] == [level.size for level in plain] + [plain[-1].size]
    assert [level.rough for level in mixed] == [True] * scales + [False]
    assert [Level(*level.numbers()) for level in mixed] == list(mixed)


@pytest.mark.parametrize(
    ("scales", "evaluations", "message"),
    [
        ((0.5, 0.4, 1), None, "rising sizes as shares"),
        ((0.5, 0.9), None, "rising sizes as shares"),
        ((0, 1), None, "rising sizes as shares"),
        ((0.5, float("nan"), 1), None, "rising sizes as shares"),
        ((), None, "rising sizes as shares"),
        (("half", 1), None, "rising sizes as shares"),
        ("all", None, "rising sizes as shares"),
        (0, None, "scales must be a number of levels"),
        (3, 2, "too few for 3 levels"),
        (3, [1, 2], "one number for each of the 3"),
        (2, [1, -1], "one number"),
        (2, [0, 0], "one number"),
        (2, "many", "one number"),
    ],
)
def test_senseless_numbers(scales: int, evaluations: object, message: str) -> None:
    with pytest.raises(ObjectiveError, match=message):
        schedule(256, 256, scales, evaluations)  # type: ignore[arg-type]


def test_a_wrong_number_of_evaluations_tells_of_the_exact_end() -> None:
    with pytest.raises(ObjectiveError, match=r"each of the 2 levels \(and one for the exact"):
        schedule(80, 80, 2, (1, 2, 3, 4), mixed=True)
    with pytest.raises(ObjectiveError, match=r"each of the 2 levels, not \(1, 2, 3, 4\)"):
        schedule(80, 80, 2, (1, 2, 3, 4))


@pytest.mark.parametrize(("scales", "evaluations"), [(True, None), (1, True), (2, (True, 5))])
def test_truth_values_are_no_numbers(scales: int, evaluations: int) -> None:
    with pytest.raises(ObjectiveError, match="must be a"):
        schedule(80, 80, scales, evaluations)
