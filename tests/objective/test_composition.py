"""Terms as values: composition, printing, records, and the features that they ask for."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

import fastsynth as fs
from fastsynth.objective import Canvas, Sum, Term
from fastsynth.synthesize.record import decode, encode

GREY = np.full((20, 30, 3), 128, np.uint8)
TALL = np.zeros((60, 20, 3), np.uint8)


def test_terms_add_up_and_take_weights() -> None:
    objective = 2 * (fs.Content(GREY) + 3 * fs.TotalVariation()) + fs.AlphaNorm() * 0.5
    assert [type(term).__name__ for term in objective.terms()] == [
        "Content",
        "TotalVariation",
        "AlphaNorm",
    ]
    assert [term.weight for term in objective.terms()] == [2.0, 6.0, 0.5]
    assert (-fs.TotalVariation()).weight == -1.0
    assert len(sum([fs.TotalVariation(), fs.AlphaNorm()]).terms()) == 2  # type: ignore[arg-type]


@pytest.mark.parametrize("other", [1, "x", None])
def test_only_terms_add_to_terms(other: object) -> None:
    with pytest.raises(TypeError):
        fs.TotalVariation() + other  # type: ignore[operator]
    with pytest.raises(TypeError):
        fs.TotalVariation() * "2"  # type: ignore[operator]


def test_printing_hides_defaults() -> None:
    assert repr(fs.TotalVariation()) == "TotalVariation()"
    assert repr(0.5 * fs.TotalVariation(1.0) + fs.RangePenalty()) == (
        "TotalVariation(beta=1.0, weight=0.5) + RangePenalty()"
    )


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: fs.Content(GREY, []), "no layers"),
        (lambda: fs.Content(GREY, {"conv1_1": float("nan")}), "conv1_1 must be a finite"),
        (lambda: fs.Content(GREY, normalization="sum"), "'sum'"),
        (lambda: fs.Content([(GREY, "much")]), "weight of a content image"),
        (lambda: fs.Style(GREY, scale=0), "scale must be"),
        (lambda: fs.Style(GREY, sizing="big"), "'big'"),
        (lambda: fs.Style(GREY, weight=float("inf")), "weight of a term"),
        (lambda: fs.TotalVariation(beta=0), "beta"),
        (lambda: fs.TotalVariation("2"), "beta"),
        (lambda: fs.AlphaNorm(alpha=1), "alpha"),
        (lambda: fs.RangePenalty(1, 0), "low must be below high"),
        (lambda: fs.FunctionTerm("conv1_1", 3), "callable"),
    ],
)
def test_senseless_settings(make: object, message: str) -> None:
    with pytest.raises(fs.ObjectiveError, match=message):
        make()  # type: ignore[operator]


def sizes(term: Term, canvas: Canvas) -> Sequence[tuple[int, int]]:
    return [(request.height, request.width) for request in term.requests(canvas)]


def test_sizes_of_target_images() -> None:
    canvas = Canvas(64, 48, shrink=0.25)
    assert sizes(fs.Content(GREY), canvas) == [(64, 48)]
    assert sizes(fs.Style(TALL), canvas) == [(64, 21)]  # longer side = the canvas' longer side
    assert sizes(fs.Style(TALL, scale=0.5), canvas) == [(32, 16)]
    assert sizes(fs.Style(TALL, sizing="native"), Canvas(64, 48)) == [(60, 20)]
    assert sizes(fs.Style(TALL, sizing="native"), canvas) == [
        (16, 16)
    ]  # at least 16 px; own pixels, shrunk with the level


def test_records_of_terms_come_back() -> None:
    objective = (
        fs.Content(GREY, {"conv3_1": 0.5}, normalization="paper")
        + 10 * fs.Style([(GREY, 0.25), (TALL, 0.75)], sizing="native", balance=True)
        + 0.1 * fs.TotalVariation(1.5)
    )
    pictures = {p.sha256: p for term in objective.terms() for p, _ in getattr(term, "pictures", ())}
    again = decode(encode(objective), lambda item: pictures[item["sha256"]])
    assert isinstance(again, Sum)
    assert repr(again) == repr(objective)
    assert encode(again) == encode(objective)


def test_records_of_optimizers_come_back() -> None:
    for optimizer in (
        fs.LBFGS(memory=7),
        fs.Adam(0.5, betas=(0.8, 0.9)),
        fs.GradientDescent(step=2.0),
    ):
        assert decode(encode(optimizer), lambda item: item) == optimizer
