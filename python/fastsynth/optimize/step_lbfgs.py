"""L-BFGS as ONNX nodes: one evaluation in each step, its history as one matrix.

The history H, (2m + 2, N), holds changes of the image s in rows 0 … m-1 and of the gradient y in
rows m … 2m-1, as rings; the last two rows are where a step writes that keeps no pair. One product
with H gives all dot products of a step, another one the direction. Between them the two-loop
recursion is done on its coefficients: with L_ij = s_i·y_j for pairs j not older than i (newest
first: lower triangular), D its diagonal, γ = s·y / y·y of the newest,

    L a = Sᵀ g,   Lᵀ c = D a - γ (Yᵀ g - YᵀY a),   d = -(γ g - γ Y a + S c).

The line search is a state machine in one vector of numbers: a trial is accepted under the (weak)
Wolfe conditions or those of Hager & Zhang, as in the engine, or the next trial is taken from a
cubic through the best point and this one. It costs one evaluation a step. The engine asks for the
strong conditions and interpolates a little more cleverly: paths differ in rare steps.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from fastsynth.optimize.optimizers import LBFGS
from fastsynth.optimize.step_updates import Moved, Sampled, Update

if TYPE_CHECKING:
    from fastsynth.network.builder import GraphBuilder, Tensor

    State = Mapping[str, Tensor]

__all__ = ["LBFGSUpdate"]

# The numbers of the search. value, slope: of φ(t) = f(x + t d) at 0; t: of the trial. low: the best
# point that has enough decrease; high: a t that is too far, 0 without one; walled: it had no finite
# value. trials: in this search; move: root mean square of the last change of x; pairs, newest: of
# the history; force: accept the next trial, which is known to be lower; lowest, idle: the least
# value, and steps accepted since.
NUMBERS = [
    "value",
    "slope",
    "t",
    "low_t",
    "low_value",
    "low_slope",
    "high",
    "walled",
    "trials",
    "move",
    "pairs",
    "newest",
    "force",
    "lowest",
    "idle",
]
BLOCK = 4  # rows of a triangular system that are solved at a time
FAR, NEAR = 4.0, 1.1  # how far a trial may go beyond the last, in units of that from the one before


class LBFGSUpdate(Update):
    """See the module."""

    def __init__(self, settings: LBFGS, size: int) -> None:
        super().__init__(size)
        self.settings = settings

    def shapes(self) -> dict[str, tuple[int, ...]]:
        m, n = self.settings.memory, self.size
        vectors = dict.fromkeys(("base", "base_gradient", "direction"), (1, n))
        return {
            **vectors,
            "history": (2 * m + 2, n),
            "curvature": (m, m),
            "gradients": (m, m),
            "search": (len(NUMBERS),),
        }

    def build(  # noqa: PLR0915, one recurrence from top to bottom
        self, builder: GraphBuilder, sampled: Sampled, state: State
    ) -> Moved:
        b, m, settings = builder, self.settings.memory, self.settings
        parts = b.ops("Split", len(NUMBERS), state["search"], axis=0, num_outputs=len(NUMBERS))
        old = dict(zip(NUMBERS, parts, strict=True))
        first, finite, f, g = sampled.first, sampled.finite, sampled.loss, sampled.gradient

        # Is the trial accepted?
        t, value, slope0 = old["t"], old["value"], old["slope"]
        slope = dot(g, state["direction"])
        decrease = f <= value + t * slope0 * settings.c1
        flat = slope >= slope0 * settings.c2
        noise = value.abs() * settings.noise
        near = (f <= value + noise) & (slope <= slope0 * (2 * settings.c1 - 1)) & flat
        good = decrease & (flat | (old["walled"] > 0.5))
        accept = finite & (first | (old["force"] > 0.5) | near | good)

        # What is remembered: a pair, if it bends upwards.
        s = sampled.image - state["base"]
        y = g - state["base_gradient"]
        ss, sy, yy = dot(s, s), dot(s, y), dot(y, y)
        store = accept & ~first & (sy > (ss * yy).sqrt() * 1e-8)
        pair = [b.where(store, row, 0.0) for row in (s, y)]
        slot = old["newest"] + 1.0
        slot = b.where(slot >= float(m), 0.0, slot)
        newest = b.where(store, slot, old["newest"])
        rows = b.where(store, b.concat([slot, slot + float(m)], 0), two(2 * m, 2 * m + 1))
        history = b.op(
            "ScatterND", state["history"], rows.cast("int64").reshape((2, 1)), b.concat(pair, 0)
        )
        base = b.where(accept, sampled.image, state["base"])
        base_gradient = b.where(accept, g, state["base_gradient"])
        pairs = b.where(store, (old["pairs"] + 1.0).minimum(float(m)), old["pairs"])

        # The direction at the new point.
        right = b.concat([pair[1], base_gradient], 0)
        products = b.op("Gemm", right, history, transB=1)  # (2, 2m + 2)
        ages = newest - np.arange(m, dtype=np.float32)
        slots = b.where(ages < 0.0, ages + float(m), ages).cast("int64")
        curvature = shifted(
            b, state["curvature"], products, places=slots, store=store, m=m, kind="lower"
        )
        gradients = shifted(
            b, state["gradients"], products, places=slots + whole(m), store=store, m=m, kind="both"
        )
        along, back = (
            products.slice(0, 1, 2).gather(places, axis=1).reshape((m, 1))
            for places in (slots, slots + whole(m))
        )
        valid = pairs.reshape((1, 1)) > np.arange(m, dtype=np.float32).reshape(m, 1)
        gamma, on_s, on_y = coefficients(
            b, curvature, gradients, along=along, back=back, valid=valid, m=m
        )
        ring = b.concat(
            [on_s.gather(slots), on_y.gather(slots), np.zeros((2, 1), np.float32)], 0
        ).transpose()
        newton = ring @ history - base_gradient * gamma.reshape((1, 1))
        newton_slope = dot(newton, base_gradient)
        squared = dot(base_gradient, base_gradient)

        # The next trial of a search that goes on.
        trials = old["trials"] + 1.0
        lower = finite & decrease
        low = {
            "low_t": b.where(lower, t, old["low_t"]),
            "low_value": b.where(lower, f, old["low_value"]),
            "low_slope": b.where(lower, slope, old["low_slope"]),
        }
        high = b.where(lower, old["high"], t)
        walled = b.where(lower, old["walled"], (~finite).number())
        further = next_trial(b, old, t, f, slope=slope, finite=finite, lower=lower)
        over = ~accept & (trials >= float(settings.max_search))
        return_to_low = over & (low["low_t"] > 0.0)
        failed = over & ~(low["low_t"] > 0.0)
        stuck = failed & ~(pairs > 0.5)

        # Steepest descent: at the start, where the history misleads, and after a failed search.
        misled = accept & ~((newton_slope < 0.0) & b.finite(newton_slope))
        forget = misled | failed
        pairs = b.where(forget, 0.0, pairs)
        steepest = forget | (accept & ~(pairs > 0.5))
        moved = b.where(accept & ~first, (ss / float(self.size)).sqrt(), old["move"])
        length = b.where(moved > 0.0, moved.minimum(settings.first_step), settings.first_step)
        natural = length * (float(self.size) / squared.maximum(1e-37)).sqrt()
        begin = accept | failed  # of a search
        ahead = b.where(steepest, -base_gradient, newton)
        direction = b.where(begin, ahead, state["direction"])
        step = b.where(return_to_low, low["low_t"], further)
        step = b.where(begin, b.where(steepest, natural, 1.0), step)
        begin_value = b.where(accept, f, value)
        begin_slope = b.where(steepest, -squared, newton_slope)
        lowered = f < old["lowest"]
        idle = b.where(lowered | first, 0.0, old["idle"] + 1.0)
        stuck = stuck | (accept & (idle >= float(settings.patience)))
        after: dict[str, Tensor] = {
            "value": begin_value,
            "slope": b.where(begin, begin_slope, slope0),
            "t": step,
            "low_t": b.where(begin, 0.0, low["low_t"]),
            "low_value": b.where(begin, begin_value, low["low_value"]),
            "low_slope": b.where(begin, begin_slope, low["low_slope"]),
            "high": b.where(begin, 0.0, high),
            "walled": b.where(begin, 0.0, walled),
            "trials": b.where(begin, 0.0, trials),
            "move": moved,
            "pairs": pairs,
            "newest": newest,
            "force": return_to_low.number(),
            "lowest": b.where(accept & (lowered | first), f, old["lowest"]),
            "idle": b.where(accept, idle, old["idle"]),
        }
        return Moved(
            image=base + direction * step,
            state={
                "base": base,
                "base_gradient": base_gradient,
                "direction": direction,
                "history": history,
                "curvature": curvature,
                "gradients": gradients,
                "search": b.concat([after[name] for name in NUMBERS], 0),
            },
            moved=(accept & ~first).number(),
            stuck=stuck.number(),
        )


def dot(u: Tensor, v: Tensor) -> Tensor:
    """u·v of rows (1, N), (1,)."""
    return u.builder.op("Gemm", u, v, transB=1).reshape((1,))


def two(first: int, second: int) -> np.ndarray[tuple[int], np.dtype[np.float32]]:
    return np.array([first, second], np.float32)


def whole(number: int) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    return np.array([number], np.int64)


def shifted(
    b: GraphBuilder,
    matrix: Tensor,
    products: Tensor,
    *,
    places: Tensor,
    store: Tensor,
    m: int,
    kind: str,
) -> Tensor:
    """Products of pairs, newest first, with those of a new pair in front if it is stored.

    The new column are the products of the new y with the rows `places` of the history; the new
    row is the same ("both") or, beyond the diagonal, zero ("lower").
    """
    column = products.slice(0, 0, 1).gather(places, axis=1).reshape((m, 1))
    if m == 1:
        return b.where(store, column, matrix)
    row = column.slice(0, 1, m).transpose() if kind == "both" else np.zeros((1, m - 1), np.float32)
    inner = matrix.slice(0, 0, m - 1).slice(1, 0, m - 1)
    return b.where(store, b.concat([column, b.concat([row, inner], 0)], 1), matrix)


def coefficients(
    b: GraphBuilder,
    curvature: Tensor,
    gradients: Tensor,
    *,
    along: Tensor,
    back: Tensor,
    valid: Tensor,
    m: int,
) -> tuple[Tensor, Tensor, Tensor]:
    """γ (1,), and the coefficients (m, 1) of S and Y in the direction, newest first.

    along, back: Sᵀg and Yᵀg; valid: which pairs count. The others take part as if L were 1 and
    their products 0.
    """
    eye = np.eye(m, dtype=np.float32)
    used = valid & valid.transpose()
    lower = b.where(used, curvature, eye)
    diagonal = (lower * eye).reduced("ReduceSum", [1])
    strict = lower / diagonal - eye  # of L with a unit diagonal
    along, back = (b.where(valid, v, 0.0) for v in (along, back))
    yy = b.where(used, gradients, 0.0)
    newest = [matrix.slice(0, 0, 1).slice(1, 0, 1).reshape((1,)) for matrix in (lower, yy)]
    gamma = b.where(newest[1] > 0.0, newest[0] / newest[1].maximum(1e-37), 1.0)
    a = solve(b, strict, along / diagonal, m)
    rest = diagonal * a - (back - yy @ a) * gamma
    c = solve(b, strict.transpose(), b.where(valid, rest, 0.0), m, backwards=True) / diagonal
    return gamma, -c, a * gamma


def solve(
    b: GraphBuilder, strict: Tensor, right: Tensor, m: int, *, backwards: bool = False
) -> Tensor:
    """x with (I + strict) x = right; strict is lower triangular, upper with `backwards`.

    By blocks; in a block of four rows (I + N)⁻¹ = (I - N)(I + N²), for N⁴ = 0.
    """
    begins = list(range(0, m, BLOCK))
    found: dict[int, Tensor] = {}
    for k in reversed(begins) if backwards else begins:
        end = min(k + BLOCK, m)
        rest = right.slice(0, k, end)
        rows = strict.slice(0, k, end)
        if backwards and end < m:
            known = joined(b, [found[i] for i in begins if i >= end])
            rest = rest - rows.slice(1, end, m) @ known
        elif not backwards and k > 0:
            known = joined(b, [found[i] for i in begins if i < k])
            rest = rest - rows.slice(1, 0, k) @ known
        block = rows.slice(1, k, end)
        eye = np.eye(end - k, dtype=np.float32)
        found[k] = (eye - block) @ ((block @ block + eye) @ rest)
    return joined(b, [found[k] for k in begins])


def joined(b: GraphBuilder, parts: Sequence[Tensor]) -> Tensor:
    return parts[0] if len(parts) == 1 else b.concat(parts, 0)


def next_trial(
    b: GraphBuilder,
    old: Mapping[str, Tensor],
    t: Tensor,
    f: Tensor,
    *,
    slope: Tensor,
    finite: Tensor,
    lower: Tensor,
) -> Tensor:
    """Where a search that goes on looks next.

    lower: the trial has enough decrease, but its slope is still steep.
    """
    width = t - old["low_t"]
    # Too high: the minimum of the cubic through low and trial, well inside; half where it has none.
    apart = b.where(width > 0.0, width, 1.0)
    theta = (old["low_value"] - f) * 3.0 / apart + old["low_slope"] + slope
    inside = theta.square() - old["low_slope"] * slope
    root = inside.maximum(0.0).sqrt()
    share = 1.0 - (slope + root - theta) / (slope - old["low_slope"] + root * 2.0)
    sound = (inside > 0.0) & b.finite(share)
    share = b.where(sound, share, 0.5).maximum(0.1).minimum(0.9)
    closer = old["low_t"] + width * b.where(finite, share, 0.1)
    # Low enough: on to where the slope would be zero, or half-way to what was too far.
    steeper = old["low_slope"] - slope
    secant = b.where(steeper < 0.0, width * slope / steeper, width * FAR)
    secant = b.where(b.finite(secant), secant, width * FAR)
    onward = t + secant.maximum(width * NEAR).minimum(width * FAR)
    between = (t + old["high"]) * 0.5
    return b.where(lower, b.where(old["high"] > 0.0, between, onward), closer)
