"""Mutations of bytes and of plain data, each drawn from a `random.Random` alone."""

from __future__ import annotations

import copy
import io
import random
import struct
import zlib
from collections.abc import Callable, Sequence
from typing import Any

EDGES = (0, 1, 0x7F, 0x80, 0xFF, 0x7FFF, 0x8000, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF)

# What an attacker, a broken program or a tired person writes in place of a value. No number is
# both large and possible: large pictures are no fault, they only take long.
VALUES: tuple[Any, ...] = (
    *(None, True, False, "", "x", "é\0\ud800".encode("utf-8", "replace").decode(), "x" * 5000),
    *(-1, 0, 1, 2, 3, 7, 10**9, 2**31, 2**63, 2**70, -(2**64), 10**400),
    *(0.5, -0.5, 1e-320, 1e308, float("nan"), float("inf"), -float("inf")),
    *([], {}, [[]], [[[]]], [None], [1, 2], [1, 2, 3], {"a": 1}, {"": {}}, [{"a": []}]),
    *("../../etc/passwd", "/proc/self/mem", "/dev/zero", "a.png", "missing.png", "conv1_1"),
    *("__import__('os').system('touch canary')", "{0.__class__}", "%s%n", "$(touch canary)"),
    *(["conv1_1"], {"conv1_1": 1.0}, {"conv1_1": -1.0}, {"conv9_9": 1}, [["a.png", 1.0]]),
    *({"path": "a.png"}, {"path": 3}, {"sha256": "0" * 64}, {"term": "Content"}),
    *({"term": ["x"]}, {"term": "FunctionTerm", "layer": "conv1_1"}, {"optimizer": "Adam"}),
    *({"optimizer": {}}, {"array": [4, 4, 3], "dtype": "uint8"}, {"verb": "pattern"}),
    *({"verb": "compose", "arguments": {"image": "a.png", "steps": []}}, {"array": 3, "dtype": []}),
)


def mutate_bytes(rng: random.Random, data: bytes, others: Sequence[bytes] = ()) -> bytes:
    """One to four changes: flips, edges, cuts, repeats, insertions, splices with another file."""
    out = bytearray(data)
    for _ in range(rng.choice((1, 1, 1, 2, 4))):
        size = len(out)
        # Half of the changes hit the beginning, where formats have their structure.
        at = rng.randrange(min(size, 64) if rng.random() < 0.5 else size) if size else 0
        kind = rng.randrange(9)
        if kind == 0 and size:
            out[at] ^= 1 << rng.randrange(8)
        elif kind == 1 and size:
            out[at] = rng.choice((0, 1, 0x20, 0x7F, 0x80, 0xFE, 0xFF, rng.randrange(256)))
        elif kind == 2:
            del out[at:]
        elif kind == 3:
            del out[at : at + rng.choice((1, 2, 4, 16, 300))]
        elif kind == 4:
            out[at:at] = out[at : at + rng.choice((1, 4, 12, 64, 400))] * rng.choice((1, 2, 40))
        elif kind == 5:
            width, order = rng.choice((1, 2, 4, 8)), rng.choice(("little", "big"))
            value = (rng.choice(EDGES) + rng.choice((-1, 0, 0, 1))) % 256**width
            out[at : at + width] = value.to_bytes(width, order)
        elif kind == 6:
            out[at:at] = rng.randbytes(rng.choice((1, 4, 30)))
        elif kind == 7 and others:
            other = rng.choice(others)
            start = rng.randrange(len(other) + 1)
            out[at:] = other[start : start + 4096]
        elif kind == 8 and size:
            out[at : at + 8] = rng.randbytes(8)
    return bytes(out)


def mutate_text(rng: random.Random, text: str, words: Sequence[str]) -> str:
    """Words put in, taken out, exchanged, repeated; now and then bytes as in `mutate_bytes`."""
    for _ in range(rng.choice((1, 1, 2, 4))):
        at = rng.randrange(len(text) + 1)
        kind = rng.randrange(6)
        if kind == 0:
            text = text[:at] + rng.choice(words) + text[at:]
        elif kind == 1:
            text = text[:at] + text[at + rng.choice((1, 1, 3, 9)) :]
        elif kind == 2:
            text = text[:at] + rng.choice(words) + text[at + rng.choice((1, 2, 5)) :]
        elif kind == 3:
            text = text[:at] + text[at : at + 20] * rng.choice((2, 3, 200)) + text[at + 20 :]
        elif kind == 4:
            text = text[:at] + chr(rng.choice((0, 9, 10, 34, 39, 92, 0xE9, 0x2028, 0x1F600))) + text
        else:
            text = mutate_bytes(rng, text.encode()).decode("utf-8", "replace")
    return text


def mutate_data(rng: random.Random, value: Any, keys: Sequence[str] = ()) -> Any:
    """Plain data with one to three places replaced, removed, renamed, exchanged or nested."""
    value = copy.deepcopy(value)
    for _ in range(rng.choice((1, 1, 1, 2, 3))):
        places = list(places_in(value))
        if not places:
            return rng.choice(VALUES)
        holder, key = rng.choice(places)
        kind = rng.randrange(8)
        if kind == 0:
            del holder[key]
        elif kind == 1 and isinstance(holder, dict):
            name = rng.choice([*keys, "x", "verb", "path", "sha256", "term", "size"])
            holder[name] = holder.pop(key)
        elif kind == 2:
            other_holder, other_key = rng.choice(places)
            if not reaches(other_holder[other_key], holder):
                holder[key] = copy.deepcopy(other_holder[other_key])
        elif kind == 3:
            deep: Any = holder[key]
            for _ in range(rng.choice((1, 3, 60))):
                deep = [deep] if rng.random() < 0.5 else {"a": deep}
            holder[key] = deep
        elif kind == 4 and isinstance(holder, dict) and keys:
            holder[rng.choice(keys)] = copy.deepcopy(rng.choice(VALUES))
        else:
            holder[key] = copy.deepcopy(rng.choice(VALUES))
    return value


def places_in(value: Any) -> Any:
    """(container, key) of everything inside plain data."""
    pairs = (
        list(value.items())
        if isinstance(value, dict)
        else list(enumerate(value))
        if isinstance(value, list)
        else []
    )
    for key, item in pairs:
        yield value, key
        yield from places_in(item)


def reaches(value: Any, holder: Any) -> bool:
    """Whether `holder` is `value` or lies in it: putting it there would make a circle."""
    return value is holder or any(item[0] is holder for item in places_in(value))


def mutate_png(rng: random.Random, data: bytes, content: Callable[[bytes, bytes], bytes]) -> bytes:
    """A PNG whose chunks are changed and whose checksums are right again, so that decoders look.

    content(name, body): the new body of a chunk that was chosen.
    """
    chunks, at = [], 8
    while at + 12 <= len(data):
        (size,) = struct.unpack_from(">I", data, at)
        chunks.append((data[at + 4 : at + 8], data[at + 8 : at + 8 + size]))
        at += 12 + size
    for _ in range(rng.choice((1, 1, 2))):
        place = rng.randrange(len(chunks))
        name, body = chunks[place]
        kind = rng.randrange(5)
        if kind == 0:
            chunks.insert(place, rng.choice(chunks))
        elif kind == 1 and len(chunks) > 2:
            del chunks[place]
        else:
            chunks[place] = (name, content(name, body))
    out = io.BytesIO()
    out.write(data[:8])
    for name, body in chunks:
        checksum = struct.pack(">I", zlib.crc32(name + body))
        out.write(struct.pack(">I", len(body)) + name + body + checksum)
    return out.getvalue()
