"""Texture synthesis: pictures with an exemplar's statistics (Gatys et al. 2015; Eqs 6, 8, 9)."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from fastsynth._errors import ObjectiveError
from fastsynth._numbers import plain_arguments
from fastsynth.image import (
    Picture,
    bent,
    find_lattice,
    fit_size,
    match_distribution,
    opaque_rectangle,
    resize,
)
from fastsynth.image.regularity import REGULAR, regularity
from fastsynth.image.regularity import SMALLEST as SMALLEST_REGULAR
from fastsynth.objective import (
    LONG_RANGE_LAYERS,
    Autocorrelation,
    RangePenalty,
    TotalVariation,
    read_regions,
    style_term,
)
from fastsynth.objective.blend import WeightedPictures, weighted_pictures
from fastsynth.objective.exemplar import LARGEST
from fastsynth.objective.lattice import DEVIATIONS, LatticeRange
from fastsynth.objective.plan import opaque
from fastsynth.render import schedule
from fastsynth.synthesize.record import encode, record
from fastsynth.synthesize.regions import (
    check_guided,
    guided_styles,
    loaded_masks,
    region_choices,
)
from fastsynth.synthesize.transfer import (
    MARGIN,
    RANGE_WEIGHT,
    Layers,
    Masks,
    in_colour,
    statistics,
)
from fastsynth.synthesize.verbs import noise_init, run_options, start

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from typing_extensions import Unpack

    from fastsynth._types import ImageLike, Size
    from fastsynth.image import Lattice
    from fastsynth.objective import Region, StyleLoss, Sum, Term
    from fastsynth.objective.content import Normalization
    from fastsynth.synthesize.options import Options, RunOptions
    from fastsynth.synthesize.result import Result
    from fastsynth.synthesize.synthesizer import Synthesizer
    from fastsynth.synthesize.verbs import Init

    Pixels = NDArray[np.float32]

__all__ = ["synthesize_texture"]

STRONG = 3.0  # long_range="strong", beside 1 for regular exemplars
# Deviation of the noise on the lattice's mean cell, from which grow the differences of the cells;
# more of it is still seen in the end.
NOISE = 0.02
# Of the term that keeps the cells in their places: 1 % of pixels that are off by a standard
# deviation of the picture weigh as much as a style loss of 1, which has nothing in common.
LATTICE_WEIGHT = 100.0
SOFTLY = 0.1  # of it where cells differ, see EXACT
# Share of the variance beyond which all cells are one and the rest is grain: coarser levels have
# nothing to do there, they would only blur edges and grain.
EXACT = 0.97
# A first picture of patches has its large forms: one level, and so many evaluations, give it the
# statistics. Coarser levels would only take it apart.
PATCH_EVALUATIONS = 60
# px of the shorter period at the coarsest level: with fewer, the joints of a wall are lost there
# and do not come back in their places.
FEWEST = 9.0
# px that the network sees of a seamless picture's continuation: all that reaches conv4_1 from
# within the tile.
WRAP = 32


@plain_arguments
def synthesize_texture(
    self: Synthesizer,
    exemplar: ImageLike | Sequence[tuple[ImageLike, float]],
    *,
    size: Size = None,
    layers: str | Sequence[str] | Mapping[str, float] | None = None,
    scale: float = 1.0,
    init: Literal["auto", "noise", "patches"] | ImageLike = "auto",
    long_range: Literal["auto", "off", "strong"] | float = "auto",
    seamless: bool = False,
    style_loss: StyleLoss = "auto",
    color: Literal["match", "none"] = "match",
    masks: Masks | None = None,
    smoothness: float = 0.0,
    normalization: Normalization = "relative",
    balance: bool = False,
    **options: Unpack[Options],
) -> Result:
    """Makes a texture like `exemplar`, of any size.

    exemplar: a picture of the texture, or pairs (picture, weight) whose statistics are mixed, in
        these proportions. Where it has transparent places, its largest opaque rectangle counts.
    size: longer side in pixels, (width, height), or None (default) for the exemplar's own size. The
        texture keeps the exemplar's pixel scale: a larger size gives more of it, not larger
        features.
    layers: names, or mapping of name to weight; default conv1_1 … conv5_1, with random weights the
        first five layers, conv1_1 … conv3_1.
    scale: factor on the size of the features; default 1.
    init: first picture: "noise" (the exemplar's mean colour plus noise), "patches" (beside masks:
        put together from the parts that these name, as image_analogy does; then one level of 60
        evaluations by default), any image, or "auto" (default: "patches" beside masks, else
        "noise").
    long_range: structure that statistics of features forget, such as the rows of a brick wall.
        "auto" (default) keeps it where the exemplar is regular (see image.regularity), "off" does
        not, "strong" and numbers weight it (1 = as for "auto"). The exemplar's lattice, where it
        has one, is continued over the first picture, and its Autocorrelation is a term.
    seamless: True makes a tile that fits together with itself on all sides; default False.
    style_loss: the statistics that are taken over: "gram", "mean_covariance", …, see style_term;
        "auto" (default) is "gram" for trained weights and "mean_covariance" for random ones.
    color: "match" (default) gives the finished picture the exemplar's distribution of colours, see
        image.match_distribution; "none" leaves it as optimised. Beside masks it is left as it is.
    masks: where the parts of the exemplar go: two label maps, {"content": the painted one,
        "style": the exemplar's}, or regions as in style_transfer (semantic doodles, Champandard
        2016). The exemplar is then scaled to the picture's size, and long_range is off.
    smoothness: weight of total variation; default 0.
    normalization: of "gram", see Style; balance: see Style.
    options: see RunOptions; in the one-call form EngineOptions too.

    Returns a Result of the first exemplar's kind.
    Raises ImageError, ObjectiveError, WeightsError, NetworkError, DeviceError, DivergenceError.

    >>> import numpy as np
    >>> from fastsynth import Synthesizer
    >>> exemplar = np.random.default_rng(0).integers(0, 255, (32, 32, 3), np.uint8)
    >>> with Synthesizer(weights="random:0") as synthesizer:
    ...     result = synthesizer.synthesize_texture(exemplar, size=(48, 40), max_evaluations=3)
    >>> result.array.shape
    (40, 48, 3)
    """
    arguments = dict(locals())
    run = run_options(options, "synthesize_texture")
    exemplars = weighted_pictures(exemplar, "exemplar")
    picture = exemplars.pairs[0][0]
    regions = [] if masks is None else read_regions(masks)
    drawn = next((region.content for region in regions if region.content is not None), picture)
    height, width = fit_size(size, drawn.pixels.shape[1:])
    check(smoothness, seamless, scale, color)
    # Masks lie on the whole exemplar; else what shows through is no part of the texture.
    seen = exemplars if regions else opaque_parts(exemplars)
    pattern = seen.pairs[0][0]
    strength = long_range_strength(long_range, pattern) * (not regions)
    check_guided(regions, style_loss, normalization)
    random = self.weights.id.startswith("random")
    chosen, layers = statistics(style_loss, layers, random=random, normalization=normalization)

    seed = run.get("seed", 0)
    noise = noise_init(opaque(pattern).mean((1, 2)), seed)
    targets = seen.shares()
    drawings = None if masks is None else loaded_masks(masks)
    job = record("synthesize_texture", arguments, exemplar=exemplars, masks=drawings)
    lattice = find_lattice(scaled_pixels(pattern, scale)) if strength > 0 else None
    placed = None
    if lattice is not None:
        noise = lattice_init(lattice, (height, width), seed, seamless)
        single = len(targets.pairs) == 1
        if seamless and single:
            pixels = scaled_pixels(pattern, scale)
            targets, scale = bent_target(pixels, lattice, (height, width)), 1.0
        # Another first picture has its own places for the cells.
        if isinstance(init, str) and init in ("auto", "noise"):
            run.update(lattice_schedule(lattice, (height, width), run))
            if single:
                placed = LatticeRange(lattice, (height, width), lattice_offset(seed))
    choices = {"noise": noise, "auto": noise}
    if regions:
        choices = region_choices(
            regions,
            picture,
            (height, width),
            scale=scale,
            seed=seed,
            pool=self.pool,
            cancel=run.get("cancel"),
        )
        if isinstance(init, str) and init in ("auto", "patches"):
            run.update(one_level(run))
    first, given = start(init, choices, "synthesize_texture")
    job["arguments"]["init"] = encode(given or init)
    objective = texture_objective(
        regions,
        targets,
        layers,
        chosen,
        normalization=normalization,
        scale=scale,
        balance=balance,
    )
    kept: list[Term] = []
    if strength > 0:
        deep = [layer for layer in LONG_RANGE_LAYERS if layer in self.open(None, "avg").layers]
        kept = [strength * Autocorrelation(targets, deep, sizing="native", scale=scale)]
    cells = [] if placed is None else [lattice_weight(placed.lattice) * strength * placed]
    objective = sum([*kept, *cells], objective) + RANGE_WEIGHT * RangePenalty()
    if smoothness > 0:
        objective = objective + smoothness * TotalVariation()
    return self.synthesize(
        objective,
        (height, width),
        first,
        finish=finishing(
            colours_of(seen) if color == "match" and not regions else None, placed, wrap=seamless
        ),
        pooling="avg",
        kind=picture.kind
        if all(p.kind.grey for p, _ in exemplars.pairs)
        else in_colour(picture.kind),
        job=job,
        margin=WRAP if seamless else MARGIN,
        wrap=seamless,
        # Where it was not asked for and does not fit the memory, coarser levels must do.
        optional=kept if long_range == "auto" else (),
        **run,
    )


def texture_objective(
    regions: Sequence[Region],
    targets: WeightedPictures,
    layers: Layers,
    chosen: StyleLoss,
    *,
    normalization: Normalization,
    **settings: Any,
) -> Term | Sum:
    """The statistics of the whole exemplar, or of its regions."""
    if regions:
        return guided_styles(regions, targets, layers, statistics=chosen, **settings)
    return style_term(
        chosen, targets, layers, normalization=normalization, sizing="native", **settings
    )


def check(smoothness: Any, seamless: Any, scale: Any, color: Any) -> None:
    """Raises ObjectiveError for keywords that are not what they must be."""
    if not isinstance(smoothness, (int, float)) or not 0 <= smoothness < np.inf:
        raise ObjectiveError(f"smoothness must be a number ≥ 0, not {smoothness!r}")
    if not isinstance(scale, (int, float)) or not 0 < scale < np.inf:
        raise ObjectiveError(f"scale must be a positive number, not {scale!r}")
    if not isinstance(seamless, bool):
        raise ObjectiveError(f"seamless must be True or False, not {seamless!r}")
    if color not in ("match", "none"):
        raise ObjectiveError(f'color must be "match" or "none", not {color!r}')


def colours_of(exemplars: WeightedPictures) -> Callable[[NDArray[np.float32]], NDArray[np.float32]]:
    """What gives a picture the exemplars' distribution of colours, in their shares."""
    targets = [(opaque(picture), share) for picture, share in exemplars.shares().pairs]

    def matched(pixels: NDArray[np.float32]) -> NDArray[np.float32]:
        # Negative shares push statistics away; no picture has a negative share of its pixels.
        return match_distribution(pixels, [(part, max(0.0, share)) for part, share in targets])

    return matched


def finishing(
    colours: Callable[[Pixels], Pixels] | None, term: LatticeRange | None, *, wrap: bool
) -> Callable[[Pixels], Pixels] | None:
    """What the optimised pixels get: the exemplar's colours, then a place in the lattice's range.

    The match of colours makes specks where the picture's borders cut other shares of the cells than
    the exemplar's do. In the lattice they have no place.
    """
    if term is None:
        return colours
    low, high = term.lattice.bounds(term.size, offset=term.offset, wrap=wrap, deviations=DEVIATIONS)

    def placed(pixels: Pixels) -> Pixels:
        inside: Pixels = np.clip(pixels if colours is None else colours(pixels), low, high)
        return inside

    return placed


def opaque_parts(exemplars: WeightedPictures) -> WeightedPictures:
    """Exemplars cut to their largest opaque rectangles, where those are large enough."""

    def cut(exemplar: Picture) -> Picture:
        top, bottom, left, right = opaque_rectangle(exemplar)
        if exemplar.alpha is None or min(bottom - top, right - left) < SMALLEST_REGULAR:
            return exemplar
        return Picture.of(np.ascontiguousarray(exemplar.pixels[:, top:bottom, left:right]))

    return WeightedPictures(tuple((cut(picture), weight) for picture, weight in exemplars.pairs))


def one_level(run: RunOptions) -> RunOptions:
    """The schedule after a start that has its large forms, unless one is given."""
    if run.get("scales") is not None:
        return {}
    evaluations = run.get("max_evaluations")
    if evaluations is None:
        return {"scales": 1, "max_evaluations": PATCH_EVALUATIONS}
    single = isinstance(evaluations, int) or len(evaluations) == 1
    return {"scales": 1} if single else {}


def lattice_weight(lattice: Lattice) -> float:
    """Of the term that keeps cells in their places, at strength 1."""
    return LATTICE_WEIGHT if lattice.share > EXACT else SOFTLY * LATTICE_WEIGHT


def bent_target(
    pixels: NDArray[np.float32], lattice: Lattice, size: tuple[int, int]
) -> WeightedPictures:
    """The exemplar of a tile: whole periods must fit into it, and this one has such periods."""
    return WeightedPictures(((Picture.of(bent(pixels, lattice, *size)), 1.0),))


def lattice_schedule(lattice: Lattice, size: tuple[int, int], run: RunOptions) -> RunOptions:
    """The schedule after a start from the lattice, unless one is given."""
    chosen: RunOptions = one_level(run) if lattice.share > EXACT else {}
    if not chosen and run.get("scales") is None:
        chosen = {"scales": lattice_scales(lattice, size)}
    return chosen


def lattice_scales(lattice: Lattice, size: tuple[int, int]) -> int:
    """The usual number of levels, or fewer: the lattice must have some pixels in a period.

    Where it has not it would be lost, and coarser levels have nothing to add to it.
    """
    finer = math.floor(math.log2(max(1.0, lattice.period / FEWEST)))
    return min(len(schedule(*size)), 1 + finer)


def long_range_strength(value: Any, exemplar: Picture) -> float:
    """The weight of the long-range terms: the keyword's number, or what its name means here."""
    if isinstance(value, str):
        if value not in ("auto", "off", "strong"):
            raise ObjectiveError(
                f'long_range must be "auto", "off", "strong" or a number ≥ 0, not {value!r}'
            )
        if value == "auto":
            large = min(exemplar.pixels.shape[1:]) >= SMALLEST_REGULAR
            return 1.0 if large and regularity(exemplar) > REGULAR else 0.0
        return STRONG if value == "strong" else 0.0
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if not number or not 0 <= value < np.inf:
        raise ObjectiveError(
            f'long_range must be "auto", "off", "strong" or a number ≥ 0, not {value!r}'
        )
    return float(value)


def scaled_pixels(exemplar: Picture, scale: float) -> NDArray[np.float32]:
    """The exemplar's pixels at the size that its features have in the texture."""
    pixels = opaque(exemplar)
    if scale == 1.0:
        return pixels
    _, height, width = pixels.shape
    if not max(height, width) * scale <= LARGEST:
        raise ObjectiveError(
            f"a scale of {scale:g} makes the exemplar larger than {LARGEST} px; "
            "choose a smaller one"
        )
    return resize(pixels, (max(1, round(height * scale)), max(1, round(width * scale))), clip=True)


def lattice_offset(seed: int) -> tuple[float, float]:
    """A random place on a lattice (row, column) for the picture's corner.

    In whole pixels: a lattice of whole pixels keeps its sharp edges.
    """
    row, column = np.random.default_rng(seed).integers(0, 1024, 2)
    return float(row), float(column)


def lattice_init(lattice: Lattice, size: tuple[int, int], seed: int, wrap: bool) -> Init:
    """First pictures with the lattice's mean cell continued from a random place, plus noise.

    Where the cell explains nearly all, the noise is what the exemplar has at each of its places.
    """
    offset = lattice_offset(seed)
    cells = lattice.continued(*size, offset=offset, wrap=wrap)
    low, high = lattice.bounds(size, offset=offset, wrap=wrap, deviations=0.5)
    deviation = high - low if lattice.share > EXACT else np.full_like(cells, NOISE)

    def init(height: int, width: int) -> NDArray[np.float32]:
        noise = np.random.default_rng(seed).standard_normal((3, height, width), np.float32)
        placed, spread = (resize(x, (height, width), clip=True) for x in (cells, deviation))
        first: NDArray[np.float32] = np.clip(placed + spread * noise, 0.0, 1.0)
        return first

    return init
