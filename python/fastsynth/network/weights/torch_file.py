"""Reads tensors out of .pth files without torch and without running the program in their pickle.

A .pth file is a pickle that describes the tensors, and beside it their raw storages: as members of
a zip archive, or, in the older form, one after the other behind the pickle. A pickle may call any
function, so Python's unpickler is not used. `_interpret` walks the opcodes itself and knows only
plain values and the few names in `_STORAGES` and `_interpret_call`; these stand for plain data here
and are never looked up, imported or called. Anything else in the file is an error.
"""

from __future__ import annotations

import io
import math
import pickletools
import zipfile
from contextlib import contextmanager
from dataclasses import dataclass
from typing import IO, TYPE_CHECKING, Any

import numpy as np

from fastsynth._errors import WeightsError
from fastsynth.network.weights.tensor_file import Tensor, TensorFile

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from numpy.typing import NDArray

__all__ = ["open_torch_legacy", "open_torch_zip"]

_MAGIC = 0x1950A86A20F9469CFC6C  # first value of the older form
_PROTOCOL = 1001
_PICKLE_LIMIT = 1 << 24  # bytes; the description of a VGG takes a few thousand
_ENTRY_LIMIT = 10_000  # tensors in one file, through all nested dictionaries

_STORAGES = {
    "torch FloatStorage": "float32",
    "torch DoubleStorage": "float64",
    "torch HalfStorage": "float16",
    "torch BFloat16Storage": "bfloat16",
    "torch LongStorage": "int64",
    "torch IntStorage": "int32",
    "torch ShortStorage": "int16",
    "torch CharStorage": "int8",
    "torch ByteStorage": "uint8",
    "torch BoolStorage": "bool",
}
_CALLS = (
    "collections OrderedDict",
    "torch._utils _rebuild_tensor",
    "torch._utils _rebuild_tensor_v2",
    "torch._utils _rebuild_parameter",
)


@dataclass(frozen=True)
class _Name:
    """A name that the pickle mentions, "module name"; never resolved."""

    text: str


@dataclass(frozen=True)
class _Storage:
    key: str
    dtype: str
    count: int

    @property
    def item_size(self) -> int:
        return 2 if self.dtype == "bfloat16" else np.dtype(self.dtype).itemsize


@dataclass(frozen=True)
class _View:
    """A tensor as the pickle describes it: a strided view of a storage, counted in elements."""

    storage: _Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]

    def span(self) -> int:
        """How many elements of the storage lie between the first and the last of the view."""
        if 0 in self.shape:
            return 0
        steps = ((size - 1) * stride for size, stride in zip(self.shape, self.strides, strict=True))
        return 1 + sum(steps)


# ---- the two containers ----


@contextmanager
def open_torch_zip(path: Path, archive: zipfile.ZipFile) -> Iterator[TensorFile]:
    """The tensors of a .pth file that is a zip archive. Raises WeightsError."""
    pickles = [name for name in archive.namelist() if name.split("/")[1:] == ["data.pkl"]]
    if len(pickles) != 1:
        raise WeightsError(f"{path}: {len(pickles)} members called data.pkl, expected one")
    root = pickles[0].removesuffix("data.pkl")
    if f"{root}byteorder" in archive.namelist():
        with archive.open(f"{root}byteorder") as stream:
            _require_little_endian(path, stream.read(16) == b"little")
    with archive.open(pickles[0]) as stream:
        described = _interpret(path, io.BytesIO(_bounded(path, stream)))

    def read(storage: _Storage, start: int, count: int) -> bytes:
        with archive.open(f"{root}data/{storage.key}") as stream:
            if start:
                stream.seek(start)
            data = stream.read(count)
            stream.read(1)  # at the end of a member, zipfile compares its CRC-32
            return data

    yield TensorFile(path, _tensors(path, described, read))


@contextmanager
def open_torch_legacy(path: Path) -> Iterator[TensorFile]:
    """The tensors of a .pth file in the form before torch 1.6. Raises WeightsError."""
    with path.open("rb") as file:
        stream = io.BytesIO(file.read(_PICKLE_LIMIT))
        if _interpret(path, stream) != _MAGIC or _interpret(path, stream) != _PROTOCOL:
            raise WeightsError(f"{path} is a pickle, but not one that torch.save wrote")
        system = _interpret(path, stream)
        _require_little_endian(
            path, isinstance(system, dict) and system.get("little_endian") is True
        )
        storages: dict[str, _Storage] = {}
        described = _interpret(path, stream, storages)
        keys = _interpret(path, stream)
        if not isinstance(keys, list) or len(set(keys)) != len(keys):
            raise WeightsError(f"{path}: damaged list of storages")
        places: dict[str, int] = {}
        place = stream.tell()
        for key in keys:
            # Each storage: its number of elements (8 bytes, little-endian), then the elements.
            storage = storages[key]
            file.seek(place)
            if int.from_bytes(file.read(8), "little") != storage.count:
                raise WeightsError(f"{path}: the size of storage {key} is not the one described")
            places[key] = place + 8
            place += 8 + storage.count * storage.item_size

        def read(storage: _Storage, start: int, count: int) -> bytes:
            file.seek(places[storage.key] + start)
            return file.read(count)

        yield TensorFile(path, _tensors(path, described, read))


def _bounded(path: Path, stream: IO[bytes]) -> bytes:
    data = stream.read(_PICKLE_LIMIT + 1)
    if len(data) > _PICKLE_LIMIT:
        raise WeightsError(f"{path}: its data.pkl is larger than {_PICKLE_LIMIT} bytes")
    return data


def _require_little_endian(path: Path, little: bool) -> None:
    if not little:
        raise WeightsError(f"{path} was written on a big-endian machine; write it again as .npz")


# ---- from descriptions to tensors ----


def _tensors(
    path: Path, described: object, read: Callable[[_Storage, int, int], bytes]
) -> dict[str, Tensor]:
    """Tensors by name; dictionaries inside dictionaries are joined by dots."""
    tensors: dict[str, Tensor] = {}
    waiting: list[tuple[str, object]] = [("", described)]
    visited = 0
    while waiting:
        prefix, value = waiting.pop()
        visited += 1
        if visited > _ENTRY_LIMIT:
            raise WeightsError(f"{path} holds more than {_ENTRY_LIMIT} entries, or itself")
        if isinstance(value, dict):
            waiting.extend(
                (f"{prefix}.{key}" if prefix else key, part)
                for key, part in reversed(value.items())
                if isinstance(key, str)
            )
        elif isinstance(value, _View) and prefix:
            tensors[prefix] = _tensor(path, prefix, value, read)
    return tensors


def _tensor(
    path: Path, name: str, view: _View, read: Callable[[_Storage, int, int], bytes]
) -> Tensor:
    storage, span = view.storage, view.span()
    if view.offset + span > storage.count:
        raise WeightsError(
            f"{path}: {name} reaches element {view.offset + span} of a storage of {storage.count}"
        )

    def load() -> NDArray[Any]:
        if span > 16 * math.prod(view.shape):  # a thin view of a big storage: not ours to gather
            raise WeightsError(f"{path}: {name} is spread over {span} elements; save it contiguous")
        size = span * storage.item_size
        data = read(storage, view.offset * storage.item_size, size)
        if len(data) != size:
            raise WeightsError(f"{path}: {name} ends after {len(data)} of {size} bytes")
        if storage.dtype == "bfloat16":  # the upper half of a float32
            flat: NDArray[Any] = (np.frombuffer(data, "<u2").astype(np.uint32) << 16).view(
                np.float32
            )
        else:
            flat = np.frombuffer(data, np.dtype(storage.dtype).newbyteorder("<"))
        strides = tuple(stride * flat.itemsize for stride in view.strides)
        return np.lib.stride_tricks.as_strided(flat, view.shape, strides, writeable=False)

    dtype = "float32" if storage.dtype == "bfloat16" else storage.dtype
    return Tensor(name, view.shape, dtype, load)


# ---- the pickle ----

_MARK = object()
_PLAIN = {  # operations that push their own argument
    *("INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4", "FLOAT", "BINFLOAT"),
    *("STRING", "BINSTRING", "SHORT_BINSTRING", "BINBYTES", "SHORT_BINBYTES"),
    *("UNICODE", "BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8"),
}
_CONSTANTS = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False}


def _interpret(  # noqa: PLR0912, PLR0915  (one branch per group of opcodes)
    path: Path, stream: IO[bytes], storages: dict[str, _Storage] | None = None
) -> object:
    """The value that the pickle at the position of `stream` describes; see the head of this file.

    Storages that it mentions are collected in `storages`. IndexError and TypeError mean damage.
    """
    stack: list[Any] = []
    memo: dict[int, Any] = {}

    def pop_to_mark() -> list[Any]:
        at = len(stack) - 1
        while stack[at] is not _MARK:
            at -= 1
        items = stack[at + 1 :]
        del stack[at:]
        return items

    operation: tuple[pickletools.OpcodeInfo, Any, int | None]
    for operation in pickletools.genops(stream):
        name, argument = operation[0].name, operation[1]
        if name in _PLAIN:
            stack.append(argument)
        elif name in _CONSTANTS:
            stack.append(_CONSTANTS[name])
        elif name == "MARK":
            stack.append(_MARK)
        elif name in ("EMPTY_TUPLE", "EMPTY_LIST", "EMPTY_DICT"):
            stack.append({"T": (), "L": [], "D": {}}[name[6]])
        elif name in ("TUPLE1", "TUPLE2", "TUPLE3"):
            count = int(name[-1])
            stack[-count:] = [tuple(stack[-count:])]
        elif name == "TUPLE":
            stack.append(tuple(pop_to_mark()))
        elif name == "LIST":
            stack.append(pop_to_mark())
        elif name in ("APPEND", "APPENDS"):
            items = pop_to_mark() if name == "APPENDS" else [stack.pop()]
            _expect(stack[-1], list).extend(items)
        elif name in ("SETITEM", "SETITEMS", "DICT"):
            items = pop_to_mark() if name != "SETITEM" else [stack.pop(-2), stack.pop()]
            if name == "DICT":
                stack.append({})
            _expect(stack[-1], dict).update(zip(items[::2], items[1::2], strict=True))
        elif name in ("PUT", "BINPUT", "LONG_BINPUT"):
            memo[argument] = stack[-1]
        elif name == "MEMOIZE":
            memo[len(memo)] = stack[-1]
        elif name in ("GET", "BINGET", "LONG_BINGET"):
            stack.append(memo[argument])
        elif name == "GLOBAL":
            stack.append(_name(path, argument))
        elif name == "STACK_GLOBAL":
            function, module = stack.pop(), stack.pop()
            stack.append(_name(path, f"{module} {function}"))
        elif name == "REDUCE":
            arguments, function = stack.pop(), stack.pop()
            stack.append(_interpret_call(path, function, _expect(arguments, tuple)))
        elif name == "BUILD":  # attributes of a state_dict, such as versions of its modules
            stack.pop()
            _expect(stack[-1], dict)
        elif name == "BINPERSID":
            storage = _storage(path, stack.pop())
            if storages is not None and storages.setdefault(storage.key, storage) != storage:
                raise WeightsError(f"{path}: storage {storage.key} is described twice, differently")
            stack.append(storage)
        elif name == "STOP":
            return stack.pop()
        elif name not in ("PROTO", "FRAME"):
            raise _refusal(path, f"the pickle operation {name}")
    raise WeightsError(f"{path}: its pickle does not end")


def _expect(value: Any, kind: type) -> Any:
    if type(value) is not kind:
        raise TypeError(f"a pickle with {type(value).__name__} where {kind.__name__} belongs")
    return value


def _name(path: Path, text: str) -> _Name:
    if text not in _STORAGES and text not in _CALLS:
        raise _refusal(path, text.replace(" ", "."))
    return _Name(text)


def _interpret_call(path: Path, function: object, arguments: tuple[Any, ...]) -> object:
    """What the call of one of `_CALLS` stands for."""
    text = function.text if isinstance(function, _Name) else type(function).__name__
    if text == "collections OrderedDict":
        # Python 2 hands over the items as a list of pairs, Python 3 sets them afterwards.
        return dict(arguments[0]) if arguments else {}
    if text in ("torch._utils _rebuild_tensor", "torch._utils _rebuild_tensor_v2"):
        storage, offset, shape, strides = arguments[:4]
        view = _View(
            _expect(storage, _Storage), _natural(offset), _naturals(shape), _naturals(strides)
        )
        if len(view.shape) != len(view.strides):
            raise TypeError(f"{len(view.strides)} strides for {len(view.shape)} dimensions")
        return view
    if text == "torch._utils _rebuild_parameter":
        return _expect(arguments[0], _View)
    raise _refusal(path, f"a call of {text}")


def _storage(path: Path, identity: Any) -> _Storage:
    """The storage of a persistent id ("storage", type, key, device, number of elements, view)."""
    kind, storage_type, key, _device, count, *view = _expect(identity, tuple)
    if kind != "storage" or type(storage_type) is not _Name or storage_type.text not in _STORAGES:
        raise _refusal(path, "a storage of an unknown kind")
    if view not in ([], [None]):
        raise _refusal(path, "a storage inside another storage")
    return _Storage(_expect(key, str), _STORAGES[storage_type.text], _natural(count))


def _natural(value: Any) -> int:
    if type(value) is not int or not 0 <= value < 2**62:
        raise TypeError(f"a pickle with {value!r:.40} where a size belongs")
    return value


def _naturals(values: Any) -> tuple[int, ...]:
    return tuple(_natural(value) for value in _expect(values, tuple))


def _refusal(path: Path, what: str) -> WeightsError:
    return WeightsError(
        f"{path} asks for {what}; a weights file may hold tensors only, and nothing in it is run. "
        "Save model.state_dict() with torch.save, or use .safetensors"
    )
