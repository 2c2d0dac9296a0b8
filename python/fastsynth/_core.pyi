"""Types of the compiled module. One section per stage, in data-flow order."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

# ---- common ----

__version__: str

class ThreadPool:
    def __init__(self, threads: int = 0) -> None: ...
    @property
    def threads(self) -> int: ...

def kernel_set() -> str: ...
def has_bf16() -> bool: ...
def available_kernel_sets() -> list[str]: ...

# ---- compose: blend and tone ----

def compose(
    source: NDArray[Any],
    backdrop: NDArray[Any],
    alpha: float,
    mode: str,
    rule: str,
    linear: bool,
    channels: int,
    mask: NDArray[np.float32] | None,
    pool: ThreadPool,
) -> NDArray[Any]: ...
def look_up(image: NDArray[Any], tables: NDArray[Any], pool: ThreadPool) -> NDArray[Any]: ...
def tone_curve(
    image: NDArray[np.float32],
    center: float,
    slope: float,
    middle: float,
    exponent: float,
    low: float,
    high: float,
    pool: ThreadPool,
) -> NDArray[np.float32]: ...
def color_matrix(
    image: NDArray[Any], matrix: NDArray[np.float64], pool: ThreadPool
) -> NDArray[Any]: ...
def blend_modes() -> list[str]: ...
def porter_duff_operators() -> list[str]: ...

# ---- compose: filters and geometry ----

def shared_pool(threads: int = 0) -> ThreadPool: ...
def convolve(
    image: NDArray[Any],
    out: NDArray[Any],
    taps: NDArray[np.float32],
    terms: Sequence[tuple[NDArray[np.float32], NDArray[np.float32]]],
    anchor: tuple[int, int],
    gain: float,
    alpha_gain: float,
    offset: float,
    clip: bool,
    border: str,
    constant: Sequence[float],
    linear: bool,
    alpha: str,
    pool: ThreadPool,
) -> None: ...
def affine(
    image: NDArray[Any],
    out: NDArray[Any],
    matrix: Sequence[float],
    interpolation: str,
    antialias: bool,
    clip: bool,
    border: str,
    constant: Sequence[float],
    linear: bool,
    alpha: str,
    pool: ThreadPool,
) -> None: ...
def value_range(values: NDArray[np.float32], pool: ThreadPool) -> tuple[float, float]: ...

# ---- patterns ----

def elementary_rows(
    rule: int, start: NDArray[np.uint8], rows: int, boundary: str
) -> NDArray[np.uint8]: ...
def draw_elementary(
    image: NDArray[Any],
    rule: int,
    start: NDArray[np.uint8],
    boundary: str,
    cell: int,
    color: str,
    palette: NDArray[np.float32],
    pool: ThreadPool,
) -> None: ...
def life(
    birth: int,
    survival: int,
    start: NDArray[np.uint8],
    steps: int,
    boundary: str,
    pool: ThreadPool,
) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]: ...
def draw_life(
    image: NDArray[Any],
    birth: int,
    survival: int,
    start: NDArray[np.uint8],
    steps: int,
    boundary: str,
    cell: int,
    fade: float,
    palette: NDArray[np.float32],
    pool: ThreadPool,
) -> None: ...
def formula_operations() -> list[tuple[str, int]]: ...
def evaluate_formula(
    program: tuple[NDArray[np.int32], NDArray[np.float64]],
    x: NDArray[np.float64],
    y: NDArray[np.float64],
    t: float,
    seed: int,
) -> NDArray[np.float64]: ...
def draw_formula(
    image: NDArray[Any],
    programs: Sequence[tuple[NDArray[np.int32], NDArray[np.float64]]],
    t: float,
    seed: int,
    limits: tuple[float, float],
    repeat: bool,
    palette: NDArray[np.float32],
    view: tuple[float, float, float, float],
    antialias: bool,
    pool: ThreadPool,
) -> None: ...
def escape_iterations(
    x: NDArray[np.float64],
    y: NDArray[np.float64],
    max_iterations: int,
    julia: tuple[float, float] | None = None,
) -> NDArray[np.float64]: ...
def draw_escape(
    image: NDArray[Any],
    julia: tuple[float, float] | None,
    max_iterations: int,
    density: float,
    offset: float,
    relief: float,
    inside: tuple[float, float, float],
    palette: NDArray[np.float32],
    view: tuple[float, float, float, float],
    antialias: bool,
    pool: ThreadPool,
) -> None: ...
def ifs_extent(maps: NDArray[np.float64], seed: int) -> tuple[float, float, float, float]: ...
def draw_ifs(
    image: NDArray[Any],
    maps: NDArray[np.float64],
    left: float,
    top: float,
    size: float,
    samples: float,
    gamma: float,
    background: tuple[float, float, float],
    seed: int,
    palette: NDArray[np.float32],
    pool: ThreadPool,
) -> None: ...
def rewrite(
    axiom: str,
    rules: Sequence[tuple[str, Sequence[tuple[str, float]]]],
    steps: int,
    seed: int,
    limit: int,
) -> str: ...
def turtle(
    text: str, angle: float, heading: float, draw: str, move: str, leaves: str
) -> tuple[NDArray[np.float32], NDArray[np.float32]]: ...
def draw_shapes(
    image: NDArray[Any],
    shapes: NDArray[np.float32],
    vertices: NDArray[np.float32],
    middle: tuple[float, float, float],
    corner: tuple[float, float, float],
    antialias: bool,
    pool: ThreadPool,
) -> None: ...

# ---- network ----

class Network:
    @property
    def height(self) -> int: ...
    @property
    def width(self) -> int: ...
    @property
    def taps(self) -> list[str]: ...

class CallbackNetwork(Network):
    def __init__(
        self,
        taps: Sequence[str],
        image: NDArray[np.float32],
        features: Sequence[NDArray[np.float32]],
        gradient: NDArray[np.float32],
        forward: Callable[[], object],
        backward: Callable[[Callable[[int, NDArray[np.float32], bool], bool]], object],
    ) -> None: ...

def pool_planar(
    features: NDArray[np.float32],
    pooled: NDArray[np.float32],
    routes: NDArray[np.uint8],
    average: bool,
    pool: ThreadPool,
) -> None: ...
def unpool_planar(
    pooled: NDArray[np.float32],
    routes: NDArray[np.uint8],
    gradient: NDArray[np.float32],
    average: bool,
    add: bool,
    pool: ThreadPool,
) -> None: ...
def mask_planar(
    feature: NDArray[np.float32], gradient: NDArray[np.float32], pool: ThreadPool
) -> None: ...

# ---- native ----

class NativeWeights:
    def __init__(
        self,
        layers: Sequence[tuple[str, NDArray[np.float32], NDArray[np.float32], bool]],
        matrix: NDArray[np.float32],
        offset: NDArray[np.float32],
    ) -> None: ...
    @property
    def memory_bytes(self) -> int: ...

class NativeNetwork(Network):
    def __init__(
        self,
        weights: NativeWeights,
        height: int,
        width: int,
        taps: Sequence[str],
        pooling: str = "max",
        precision: str = "exact",
        with_gradient: bool = True,
        pool: ThreadPool | None = None,
    ) -> None: ...
    @staticmethod
    def count_bytes(
        weights: NativeWeights,
        height: int,
        width: int,
        taps: Sequence[str],
        precision: str,
        with_gradient: bool,
        pool: ThreadPool,
    ) -> int: ...
    def forward(self, image: NDArray[np.float32]) -> list[NDArray[np.float32]]: ...
    def backward(self, cotangents: Sequence[NDArray[np.float32]]) -> NDArray[np.float32]: ...
    @property
    def memory_bytes(self) -> int: ...
    def set_profiling(self, on: bool) -> None: ...
    def profile(self) -> list[dict[str, str | float]]: ...

def time_passes(
    network: Network, image: NDArray[np.float32], count: int = 1, cotangent: float = 1e-3
) -> list[tuple[float, float]]: ...
def winograd_input(tile: NDArray[np.float32], m: int, /) -> NDArray[np.float32]: ...
def winograd_output(sums: NDArray[np.float32], m: int, /) -> NDArray[np.float32]: ...
def winograd_kernel(kernel: NDArray[np.float32], m: int, /) -> NDArray[np.float32]: ...
def multiply_add_peak(threads: int, seconds: float = 0.2) -> float: ...

# ---- objective ----

class LayerTerm:
    @property
    def is_tileable(self) -> bool: ...

class ContentTerm(LayerTerm):
    def __init__(self, target: NDArray[np.float32], normalization: str = "relative") -> None: ...

class GramTerm(LayerTerm):
    def __init__(self, target: NDArray[np.float32], normalization: str = "relative") -> None: ...

class FunctionTerm(LayerTerm):
    def __init__(
        self, function: Callable[[NDArray[np.float32]], tuple[float, ArrayLike]]
    ) -> None: ...

class MomentsTerm(LayerTerm):
    def __init__(
        self,
        mean: NDArray[np.float32],
        second: NDArray[np.float32],
        kind: str,
        mean_weight: float = 1.0,
        second_weight: float = 1.0,
    ) -> None: ...
    @property
    def mean(self) -> list[float]: ...
    @property
    def variance(self) -> list[float]: ...
    @property
    def gram(self) -> NDArray[np.float32]: ...

class SliceTerm(LayerTerm):
    def __init__(
        self,
        directions: NDArray[np.float32],
        targets: NDArray[np.float32],
        phases: NDArray[np.float32] | None = None,
        scale: float = 1.0,
        most: int = 16384,
    ) -> None: ...

class WindowTerm(LayerTerm):
    def __init__(
        self,
        inner: LayerTerm,
        rows: int,
        columns: int,
        top: int,
        left: int,
        height: int,
        width: int,
        guide: NDArray[np.float32] | None = None,
    ) -> None: ...

class ProjectedTerm(LayerTerm):
    def __init__(
        self, inner: LayerTerm, mixtures: NDArray[np.float32], pooling: int = 1
    ) -> None: ...

class GatherTerm(LayerTerm):
    def __init__(
        self,
        inner: LayerTerm,
        rows: int,
        columns: int,
        positions: NDArray[np.int32],
        roots: NDArray[np.float32] | None = None,
    ) -> None: ...

class CovarianceTerm(LayerTerm):
    def __init__(
        self,
        mean: NDArray[np.float32],
        covariance: NDArray[np.float32],
        mean_weight: float = 1.0,
        covariance_weight: float = 1.0,
        roots: NDArray[np.float32] | None = None,
    ) -> None: ...

class MomentFunctionTerm(LayerTerm):
    def __init__(
        self,
        function: Callable[
            [NDArray[np.float64], NDArray[np.float64]], tuple[float, ArrayLike, ArrayLike]
        ],
        channels: int,
        roots: NDArray[np.float32] | None = None,
    ) -> None: ...

class ShiftedGramTerm(LayerTerm):
    def __init__(
        self,
        targets: NDArray[np.float32],
        shifts: Sequence[int],
        centre: NDArray[np.float32],
        scale: float = 1.0,
    ) -> None: ...

class ImageTerm: ...

class OctaveTerm(ImageTerm):
    def __init__(self, inner: Objective, octaves: int = 1) -> None: ...

class FunctionImageTerm(ImageTerm):
    def __init__(
        self, function: Callable[[NDArray[np.float32]], tuple[float, ArrayLike]]
    ) -> None: ...

class TotalVariation(ImageTerm):
    def __init__(self, beta: float = 2.0, average: str = "mean") -> None: ...

class AlphaNorm(ImageTerm):
    def __init__(self, alpha: float = 6.0, average: str = "mean") -> None: ...

class RangePenalty(ImageTerm):
    def __init__(self, low: float = 0.0, high: float = 1.0) -> None: ...

class Objective:
    @property
    def size(self) -> int: ...
    @property
    def names(self) -> list[str]: ...
    @property
    def values(self) -> list[float]: ...
    def evaluate(self, x: NDArray[np.float32]) -> tuple[float, NDArray[np.float32]]: ...

class FunctionObjective(Objective):
    def __init__(
        self, function: Callable[[NDArray[np.float32]], tuple[float, ArrayLike]], size: int
    ) -> None: ...

class ImageObjective(Objective):
    def __init__(
        self,
        networks: Sequence[Network],
        height: int,
        width: int,
        pool: ThreadPool,
        wrap: int = 0,
    ) -> None: ...
    @property
    def height(self) -> int: ...
    @property
    def width(self) -> int: ...
    @property
    def weights(self) -> list[float]: ...
    def add_layer_term(
        self, network: int, tap: int, term: LayerTerm, weight: float, name: str
    ) -> None: ...
    def add_image_term(self, term: ImageTerm, weight: float, name: str) -> None: ...
    def set_weight(self, name: str, weight: float) -> None: ...
    def gradient_norms(self, image: NDArray[np.float32]) -> list[float]: ...

def reduce_octave(planes: NDArray[np.float32]) -> NDArray[np.float32]: ...

class TileGrid:
    def __init__(self, height: int, width: int, stride: int, halo: int, inner: int) -> None: ...
    @property
    def count(self) -> int: ...
    @property
    def tile_height(self) -> int: ...
    @property
    def tile_width(self) -> int: ...
    def tile(self, index: int) -> tuple[int, int, int, int]: ...
    def owned(self, index: int, stride: int) -> tuple[int, int, int, int]: ...

class ScratchFile:
    def __init__(self, descriptor: int) -> None: ...

class TiledObjective(ImageObjective):
    def __init__(
        self,
        networks: Sequence[tuple[Network, TileGrid, Sequence[int]]],
        height: int,
        width: int,
        pool: ThreadPool,
        wrap: int = 0,
    ) -> None: ...
    def add_content(
        self,
        network: int,
        tap: int,
        images: Sequence[tuple[NDArray[np.float32], int, float]],
        normalization: str,
        keep: bool,
        weight: float,
        name: str,
        file: ScratchFile | None = None,
    ) -> None: ...
    def gather(self, image: NDArray[np.float32]) -> None: ...

def gram(
    features: NDArray[np.float32], pool: ThreadPool, block: int = 1
) -> NDArray[np.float32]: ...
def network_features(network: Network, image: NDArray[np.float32]) -> list[NDArray[np.float32]]: ...
def describe_layer_term(term: LayerTerm, positions: int) -> dict[str, Any] | None: ...
def describe_image_term(term: ImageTerm) -> dict[str, Any] | None: ...
def gram_gradient(
    features: NDArray[np.float32],
    matrix: NDArray[np.float32],
    scale: float,
    pool: ThreadPool,
    block: int = 1,
    rms: float = 0.0,
) -> NDArray[np.float32]: ...
def evaluate_layer_term(
    term: LayerTerm,
    features: NDArray[np.float32],
    weight: float,
    pool: ThreadPool,
    block: int = 1,
    start: NDArray[np.float32] | None = None,
) -> tuple[float, NDArray[np.float32]]: ...
def evaluate_image_term(
    term: ImageTerm, image: NDArray[np.float32], weight: float, pool: ThreadPool
) -> tuple[float, NDArray[np.float32]]: ...
def vector_functions(
    x: NDArray[np.float32], y: NDArray[np.float32], a: float, b: float, pool: ThreadPool
) -> dict[str, Any]: ...

# ---- optimize ----

class Optimizer:
    @property
    def name(self) -> str: ...

class GradientDescent(Optimizer):
    def __init__(self, step: float, momentum: float, normalize: bool) -> None: ...

class Adam(Optimizer):
    def __init__(
        self, learning_rate: float, beta1: float, beta2: float, epsilon: float, average: float
    ) -> None: ...

class LBFGS(Optimizer):
    def __init__(
        self,
        memory: int,
        first_step: float,
        c1: float,
        c2: float,
        noise: float,
        max_search: int,
        patience: int,
    ) -> None: ...

class Rules:
    def __init__(self) -> None: ...
    max_evaluations: int
    max_iterations: int
    time_limit: float
    plateau_window: int
    plateau_drop: float
    gradient_tolerance: float

class Cancel:
    """A flag that any thread may set, to end a run before its next evaluation."""

    def __init__(self) -> None: ...
    def set(self) -> None: ...
    def clear(self) -> None: ...
    def is_set(self) -> bool: ...

class Progress:
    """A run after one of its iterations; `values` are the parts of `loss`, named by `names`."""

    @property
    def iteration(self) -> int: ...
    @property
    def evaluation(self) -> int: ...
    @property
    def seconds(self) -> float: ...
    @property
    def loss(self) -> float: ...
    @property
    def best_loss(self) -> float: ...
    @property
    def names(self) -> list[str]: ...
    @property
    def values(self) -> list[float]: ...
    def best(self) -> NDArray[np.float32]: ...
    def average(self) -> NDArray[np.float32] | None: ...
    def state(self) -> dict[str, Any]: ...

class Minimization:
    def __init__(
        self, objective: Objective, optimizer: Optimizer, pool: ThreadPool, x: NDArray[np.float32]
    ) -> None: ...
    def run(
        self,
        rules: Rules,
        progress: Callable[[Progress], object] | None = None,
        interval: float = 0.0,
        cancel: Cancel | None = None,
    ) -> str: ...
    def best(self) -> NDArray[np.float32]: ...
    def finish(self) -> NDArray[np.float32]: ...
    def average(self) -> NDArray[np.float32] | None: ...
    def history(self) -> dict[str, NDArray[np.float64]]: ...
    def state(self) -> dict[str, Any]: ...
    def restore(self, state: dict[str, Any]) -> None: ...
    @property
    def best_loss(self) -> float: ...
    @property
    def iterations(self) -> int: ...
    @property
    def evaluations(self) -> int: ...
    @property
    def seconds(self) -> float: ...

def line_search(
    function: Callable[[float], tuple[float, float]],
    first_step: float,
    c1: float = 1e-4,
    c2: float = 0.9,
    noise: float = 0.0,
    max_evaluations: int = 20,
) -> dict[str, Any]: ...

# ---- dream ----

class ActivationTerm(LayerTerm):
    def __init__(
        self,
        measure: str = "energy",
        channels: Sequence[tuple[int, float]] = ...,
        neuron: tuple[float, float] | None = None,
    ) -> None: ...

class GuidedTerm(LayerTerm):
    def __init__(self, guide: NDArray[np.float32], match: str = "dot") -> None: ...

class JitteredObjective(Objective):
    def __init__(
        self,
        objective: Objective,
        height: int,
        width: int,
        jitter: int,
        seed: int,
        pool: ThreadPool,
    ) -> None: ...

class Ascent(Optimizer):
    def __init__(
        self,
        step: float,
        normalize: bool,
        levels: int,
        height: int,
        width: int,
        low: float,
        high: float,
    ) -> None: ...

def jitter_shift(seed: int, count: int, jitter: int) -> tuple[int, int]: ...
def normalize_bands(
    planes: NDArray[np.float32], levels: int, pool: ThreadPool
) -> NDArray[np.float32]: ...

# ---- synthesize ----

class PatchField:
    def __init__(
        self,
        source: NDArray[np.float32],
        target: tuple[int, int],
        patch: int,
        allowed: NDArray[np.uint8] | None,
        seed: int,
        pool: ThreadPool,
    ) -> None: ...
    def set_target(self, planes: NDArray[np.float32], first: int) -> None: ...
    def set_weights(self, weights: Sequence[float]) -> None: ...
    def init_from(self, coarse: PatchField) -> None: ...
    def offer_same_place(self) -> None: ...
    def set_uniformity(self, uniformity: float) -> None: ...
    def sweep(
        self, coherence: float, radius: int, stop: Callable[[], bool] | None = None
    ) -> bool: ...
    def mark(self) -> None: ...
    def rewind(self) -> None: ...
    def mean_distance(self, weights: Sequence[float]) -> float: ...
    def incoherence(self) -> float: ...
    def vote(self, planes: NDArray[np.float32], sharp: bool = False) -> NDArray[np.float32]: ...
    def places(self) -> NDArray[np.int32]: ...
    def distances(self) -> NDArray[np.float32]: ...
