"""Reads tensors out of .safetensors, .npz, .h5 and .pth files, running nothing that they contain.

A file is recognised by its content, not by its name. Opening it yields the names, shapes and types
of its tensors; the data of a tensor is read when it is asked for.
"""

from __future__ import annotations

import math
import re
import struct
import zipfile
import zlib
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from fastsynth._errors import WeightsError
from fastsynth.network.weights.tensor_file import Tensor, TensorFile
from fastsynth.network.weights.torch_file import open_torch_legacy, open_torch_zip

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    import h5py
    from numpy.typing import NDArray

__all__ = ["open_tensors"]

# What the parsers below raise on damaged input; all of it becomes a WeightsError.
_DAMAGE = (
    OSError,
    EOFError,
    ValueError,
    OverflowError,
    LookupError,
    TypeError,
    RuntimeError,
    MemoryError,
    struct.error,
    zlib.error,
    zipfile.BadZipFile,
)
_CHUNK_LIMIT = 1 << 26  # bytes of one compressed piece of a .h5 file, unpacked
_HDF5_FILTERS = (1, 2, 3, 32000)  # deflate, shuffle, Fletcher-32, LZF: those that h5py brings along


@contextmanager
def open_tensors(path: Path) -> Iterator[TensorFile]:
    """Open `path` for reading tensors inside a `with` block.

    Raises:
        WeightsError: a file that is missing, of unknown format, truncated or damaged, or that asks
            for code to be run.
    """
    try:
        with _opener(path)(path) as file:
            yield file
    except WeightsError:
        raise
    except FileNotFoundError:
        raise WeightsError(f"no weights file {path}; check the path") from None
    except _DAMAGE as error:
        text = str(error) or type(error).__name__
        raise WeightsError(
            f"{path} cannot be read, is damaged or truncated ({text}); fetch or write it again"
        ) from error


def _opener(path: Path) -> Callable[[Path], AbstractContextManager[TensorFile]]:
    with path.open("rb") as stream:
        head = stream.read(16)
    if head.startswith(b"PK\x03\x04"):
        return _open_zip
    if head.startswith(b"\x89HDF\r\n\x1a\n"):
        return _open_hdf5
    if head[8:9] == b"{":
        return _open_safetensors
    if head.startswith(b"\x80\x02"):
        return open_torch_legacy
    seen = f"begins with {head[:8]!r}" if head else "is empty"
    raise WeightsError(
        f"{path} {seen}: not a .safetensors, .npz, .h5 or .pth file; choose one of these"
    )


# ---- safetensors ----

_SAFETENSORS_TYPES = {"F16": "float16", "F32": "float32", "F64": "float64"}


@contextmanager
def _open_safetensors(path: Path) -> Iterator[TensorFile]:
    import safetensors  # only who reads such a file pays for it

    try:
        with safetensors.safe_open(path, framework="numpy") as file:
            tensors: dict[str, Tensor] = {}
            for name in list(file.keys()):
                part = file.get_slice(name)
                stored = str(part.get_dtype())
                dtype = _SAFETENSORS_TYPES.get(stored, stored)
                load = partial(file.get_tensor, name)
                tensors[name] = Tensor(name, tuple(part.get_shape()), dtype, load)
            yield TensorFile(path, tensors, dict(file.metadata() or {}))
    except safetensors.SafetensorError as error:
        raise ValueError(str(error)) from error


# ---- zip archives: .npz, and .pth since torch 1.6 ----


@contextmanager
def _open_zip(path: Path) -> Iterator[TensorFile]:
    with zipfile.ZipFile(path) as archive:
        if any(name.endswith("data.pkl") for name in archive.namelist()):
            with open_torch_zip(path, archive) as file:
                yield file
        else:
            members = [name for name in archive.namelist() if name.endswith(".npy")]
            tensors = {name[:-4]: _npy(path, archive, name) for name in members}
            yield TensorFile(path, tensors)


_NPY_HEADER = re.compile(
    r"\{\s*'descr':\s*'(?P<descr>[<>|=]?[a-zA-Z]\d*)',\s*'fortran_order':\s*(?P<fortran>True|False),"
    r"\s*'shape':\s*\((?P<shape>[\d,\s]{0,200})\),?\s*\}\s*"
)


def _npy(path: Path, archive: zipfile.ZipFile, member: str) -> Tensor:
    """The array in `member`: magic, version, length of the header, header, data (NumPy's NEP 1)."""
    with archive.open(member) as stream:
        magic = stream.read(8)
        width = {b"\x93NUMPY\x01\x00": 2, b"\x93NUMPY\x02\x00": 4}.get(magic)
        if width is None:
            raise WeightsError(f"{path}: {member} begins with {magic!r}, not as NumPy arrays do")
        length = int.from_bytes(stream.read(width), "little")
        text = stream.read(min(length, 4096)).decode("latin-1")
    header = _NPY_HEADER.fullmatch(text)
    if header is None:
        raise WeightsError(f"{path}: {member} has a header that no plain array has: {text[:60]!r}")
    dtype = np.dtype(header["descr"])
    shape = tuple(int(size) for size in header["shape"].split(",") if size.strip())
    start, size = 8 + width + length, math.prod(shape) * dtype.itemsize

    def load() -> NDArray[Any]:
        with archive.open(member) as stream:
            stream.read(start)
            data = stream.read(size)
            if len(data) != size or stream.read(1):  # the last read also compares the CRC-32
                raise WeightsError(f"{path}: {member} does not hold the {size} bytes of its shape")
        flat: NDArray[Any] = np.frombuffer(data, dtype)
        return flat.reshape(shape, order="F" if header["fortran"] == "True" else "C")

    return Tensor(member[:-4], shape, dtype.newbyteorder("=").name, load)


# ---- HDF5 ----


@contextmanager
def _open_hdf5(path: Path) -> Iterator[TensorFile]:
    import h5py  # only who reads such a file pays for it

    with h5py.File(path, "r") as file:
        tensors: dict[str, Tensor] = {}

        def visit(name: str, entry: object) -> None:
            if isinstance(entry, h5py.Dataset) and entry.shape is not None:
                load = partial(_read_dataset, path, entry)
                tensors[name] = Tensor(name, tuple(entry.shape), entry.dtype.name, load)

        file.visititems(visit)  # follows neither soft links nor links to other files
        yield TensorFile(path, tensors)


def _read_dataset(path: Path, dataset: h5py.Dataset) -> NDArray[Any]:
    """The whole dataset; refused where its bytes lie elsewhere or need a foreign plug-in."""
    properties = dataset.id.get_create_plist()
    filters = [properties.get_filter(place)[0] for place in range(properties.get_nfilters())]
    if dataset.external or dataset.is_virtual or not set(filters) <= set(_HDF5_FILTERS):
        raise WeightsError(
            f"{path}: {dataset.name} refers to other files or to foreign filters; "
            "write it as a plain dataset"
        )
    if dataset.chunks and math.prod(dataset.chunks) * dataset.dtype.itemsize > _CHUNK_LIMIT:
        raise WeightsError(f"{path}: {dataset.name} is cut into pieces above {_CHUNK_LIMIT} bytes")
    return np.asarray(dataset[...])
