"""Stylizer: a verb as a callable over columns of pictures, for data pipelines."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from fastsynth._errors import FastsynthError, ObjectiveError
from fastsynth.synthesize.jobs import run_verb
from fastsynth.synthesize.synthesizer import Synthesizer

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from fastsynth._types import ImageLike

    Column = NDArray[Any]

__all__ = ["Stylizer"]

# What each verb calls the picture that comes from the column.
SUBJECTS = {
    "style_transfer": "content",
    "synthesize_texture": "exemplar",
    "invert": "image",
    "dream": "image",
}


class Stylizer:
    """Does one verb on each picture of a column; the network is loaded once.

    For Ray Data: `dataset.map_batches(Stylizer, fn_constructor_kwargs={...}, concurrency=4)` loads
    one network in each worker. Any other pipeline of columns may call it too: it needs no Ray.

    verb: "style_transfer" (default), "synthesize_texture", "invert" or "dream".
    arguments: the verb's other arguments, such as {"style": "painting.jpg", "size": 512}.
    engine: settings of the Synthesizer, such as {"weights": "oxford", "threads": 4}.
    column: of the pictures: arrays (H, W, 3|4|1) or (H, W), paths, or bytes of files.
    output: the column of the results, arrays (H, W, 3|4|1) or (H, W) like the pictures; of paths
        and bytes uint8. Default: `column`, whose pictures are then replaced.
    errors: "raise" (default), or the name of a column for texts: "" where all went well; a picture
        that cannot be done is left as black of 1×1 pixels.

    Raises ObjectiveError for settings that make no sense, and what the Synthesizer raises.

    >>> pictures = np.random.default_rng(0).integers(0, 255, (2, 24, 24, 3), np.uint8)
    >>> stylize = Stylizer("invert", {"layers": "conv1_2", "max_evaluations": 2},
    ...                    engine={"weights": "random:0"})
    >>> stylize({"image": pictures, "name": np.array(["a", "b"])})["image"].shape
    (2, 24, 24, 3)
    """

    def __init__(
        self,
        verb: Literal["style_transfer", "synthesize_texture", "invert", "dream"] = "style_transfer",
        arguments: Mapping[str, Any] | None = None,
        *,
        engine: Mapping[str, Any] | None = None,
        column: str = "image",
        output: str | None = None,
        errors: str = "raise",
    ) -> None:
        if verb not in SUBJECTS:
            raise ObjectiveError(f"verb must be one of {', '.join(SUBJECTS)}, not {verb!r}")
        self.verb = verb
        self.arguments = dict(arguments or {})
        if SUBJECTS[verb] in self.arguments:
            raise ObjectiveError(f"{SUBJECTS[verb]} comes from the column {column!r}; leave it out")
        self.column = column
        self.output = output or column
        self.errors = errors
        try:
            self.synthesizer = Synthesizer(**(engine or {}))
        except TypeError as error:
            raise ObjectiveError(f"the engine settings do not fit: {error}") from error

    def __call__(self, batch: Mapping[str, Column]) -> dict[str, Column]:
        """The batch with the column `output`; others stay as they are."""
        if self.column not in batch:
            raise ObjectiveError(
                f"the batch has no column {self.column!r}; it has {', '.join(map(str, batch))}"
            )
        if not len(batch[self.column]):
            return dict(batch)
        made, texts = zip(*map(self.one, batch[self.column]), strict=True)
        columns = {**batch, self.output: column_of(made)}
        return columns if self.errors == "raise" else {**columns, self.errors: np.array(texts)}

    def one(self, picture: ImageLike) -> tuple[NDArray[Any], str]:
        """One picture, and what went wrong with it."""
        arguments = {SUBJECTS[self.verb]: picture, **self.arguments}
        try:
            return run_verb(self.synthesizer, self.verb, arguments, {}).array, ""
        except FastsynthError as error:
            if self.errors == "raise":
                raise
            return np.zeros((1, 1, 3), np.uint8), " ".join(str(error).split())

    def __repr__(self) -> str:
        return f"Stylizer({self.verb!r}, {self.column!r} → {self.output!r}, {self.synthesizer!r})"


def column_of(pictures: Sequence[NDArray[Any]]) -> Column:
    """One array where all pictures have one size and type, else an array of arrays."""
    if len({(picture.shape, picture.dtype) for picture in pictures}) == 1:
        return np.stack(pictures)
    column = np.empty(len(pictures), object)
    for index, picture in enumerate(pictures):
        column[index] = picture
    return column
