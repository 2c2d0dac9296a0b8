"""Numbers that users hand in: Python's and NumPy's are the same to them."""

from __future__ import annotations

import functools
import operator
from collections.abc import Callable, Iterable
from types import MappingProxyType
from typing import Any, ParamSpec, TypeVar

import numpy as np

__all__ = ["plain", "plain_arguments"]

P = ParamSpec("P")
R = TypeVar("R")

# Others may fetch their items when they are asked for, as a folder of pictures does.
TABLES = (dict, MappingProxyType)
DEEPEST = 6  # of lists and tables in each other: a batch's job, its masks, their pairs, ...


def plain(value: Any, depth: int = 0) -> Any:
    """The argument with Python's numbers where it has NumPy's, in lists and tables too.

    NumPy's come out of sums, means and random choices. Arrays stay as they are: they are pictures;
    those without dimensions are numbers. What has none of NumPy's numbers is given back itself.

    >>> plain(np.float32(0.5)), plain([("a.png", np.int64(3))]), plain({"conv1_1": np.float16(2)})
    (0.5, [('a.png', 3)], {'conv1_1': 2.0})
    """
    if isinstance(value, np.ndarray) and value.ndim == 0:
        value = value[()]
    if isinstance(value, np.floating):
        return float(value)
    if isinstance(value, (np.number, np.bool_)):
        return value.item()
    if isinstance(value, np.str_):
        return str(value)
    if depth < DEEPEST and isinstance(value, (list, tuple)):
        items = [plain(item, depth + 1) for item in value]
        return value if _are(items, value) else tuple(items) if isinstance(value, tuple) else items
    if depth < DEEPEST and isinstance(value, TABLES):
        keys = [plain(key) for key in value]
        items = [plain(item, depth + 1) for item in value.values()]
        unchanged = _are(keys, value) and _are(items, value.values())
        return value if unchanged else dict(zip(keys, items, strict=True))
    return value


def _are(found: Iterable[Any], given: Iterable[Any]) -> bool:
    """Whether they are the same objects."""
    return all(map(operator.is_, found, given))


def plain_arguments(function: Callable[P, R]) -> Callable[P, R]:
    """The function, which sees Python's numbers where it is given NumPy's.

    >>> plain_arguments(repr)(np.float32(0.5))
    '0.5'
    """

    @functools.wraps(function)
    def call(*args: P.args, **kwargs: P.kwargs) -> R:
        return function(*map(plain, args), **{key: plain(value) for key, value in kwargs.items()})

    return call
