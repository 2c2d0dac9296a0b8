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


@pytest.mark.parametrize(
    ("scales", "evaluations", "message"),
    [
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
