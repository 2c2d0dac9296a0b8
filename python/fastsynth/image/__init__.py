"""Pictures in and out, colour and size. Inside: planar float32 sRGB (3, H, W) in [0, 1]."""

from __future__ import annotations

from fastsynth.image.array import ImageArray
from fastsynth.image.color import (
    join_luminance,
    keep_luminance,
    linear_to_srgb,
    luminance,
    match_distribution,
    match_histogram,
    match_mean_covariance,
    split_luminance,
    srgb_to_linear,
)
from fastsynth.image.encode import encode
from fastsynth.image.io import load
from fastsynth.image.lattice import Lattice, bent, find_lattice
from fastsynth.image.metadata import read_metadata
from fastsynth.image.output import to_array, to_output, to_pil
from fastsynth.image.picture import DEFAULT_KIND, MAX_PIXELS, Kind, Picture
from fastsynth.image.regularity import REGULAR, regularity
from fastsynth.image.resample import fit_size, resize
from fastsynth.image.save import check_writable, flush_directory, save, write_whole
from fastsynth.image.visible import opaque_rectangle

__all__ = [
    "DEFAULT_KIND",
    "MAX_PIXELS",
    "REGULAR",
    "ImageArray",
    "Kind",
    "Lattice",
    "Picture",
    "bent",
    "check_writable",
    "encode",
    "find_lattice",
    "fit_size",
    "flush_directory",
    "join_luminance",
    "keep_luminance",
    "linear_to_srgb",
    "load",
    "luminance",
    "match_distribution",
    "match_histogram",
    "match_mean_covariance",
    "opaque_rectangle",
    "read_metadata",
    "regularity",
    "resize",
    "save",
    "split_luminance",
    "srgb_to_linear",
    "to_array",
    "to_output",
    "to_pil",
    "write_whole",
]
