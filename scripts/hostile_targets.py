"""What reads foreign data, and valid data to begin from: one `Target` for each reader.

A target makes a case (bytes) from a `random.Random` and feeds a case to fastsynth. Cases depend on
the seed alone, so that a case is named by its number. Everything happens in one folder.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import pickle
import random
import re
import struct
import zipfile
import zlib
from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any, ClassVar

import h5py
import numpy as np
from hostile_mutate import mutate_bytes, mutate_data, mutate_png, mutate_text
from PIL import Image, ImageCms

import fastsynth as fs
from fastsynth import image
from fastsynth.cli.compose import parse_step
from fastsynth.compose import STEPS, Pipeline
from fastsynth.image.metadata import metadata_of_bytes
from fastsynth.network.chain import read_chain
from fastsynth.network.files import models_directory
from fastsynth.network.weights import load_weights
from fastsynth.patterns import formula
from fastsynth.patterns.expression import functions
from fastsynth.synthesize import read_job, run_job
from fastsynth.synthesize.jobs import PIXEL_VERBS, VERBS, check_job
from fastsynth.synthesize.manifest import read_manifest

SIDE = 12  # pixels of the pictures
MOST_PIXELS = 1 << 22  # so that a header's lie costs no seconds; the default is 512 megapixels
BIG = re.compile(r"[1-9]\d{2,7}(?!\d)")  # numbers of work that would be possible, but long
TINY = "tiny.safetensors"  # weights of two layers, quickly opened


class Target(ABC):
    """One reader. `share` is its part of all cases."""

    name: ClassVar[str]
    share: ClassVar[int]

    def prepare(self) -> None:
        """Makes what cases begin from, in the working folder; here pictures and a label map."""
        for index, name in enumerate(("a.png", "b.png")):
            pixels = np.random.default_rng(index).integers(0, 256, (16, 16, 3), np.uint8)
            Image.fromarray(pixels).save(name)
        labels = np.zeros((16, 16), np.uint8)
        labels[:, 7:] = 255
        Image.fromarray(labels).save("labels.png")

    @abstractmethod
    def make(self, rng: random.Random) -> bytes:
        """A case."""

    @abstractmethod
    def feed(self, case: bytes) -> None:
        """Gives it to the reader. Raises FastsynthError where it is refused."""


def few(_: Any) -> bool:
    """A callback that ends a run at once."""
    return False


# ---- pictures ----


class Pictures(Target):
    """Bytes of pictures of every kind that `load` takes."""

    name, share = "pictures", 36

    def prepare(self) -> None:
        rng = np.random.default_rng(5)
        self.pixels = rng.random((3, 14, SIDE), np.float32)
        meta = {"verb": "invert", "losses": [0.5, 0.25]}
        wide = {"bit_depth": 16, "alpha": self.pixels[0], "metadata": meta}
        colors = rng.integers(0, 256, (14, SIDE, 3), np.uint8)

        def pillow(form: str, mode: str = "RGB", **options: Any) -> bytes:
            buffer = io.BytesIO()
            exif = Image.Exif()
            exif[0x0112] = 6
            Image.fromarray(colors).convert(mode).save(buffer, form, exif=exif, **options)
            return buffer.getvalue()

        profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
        foreign = bytearray(profile)
        foreign[-4:] = b"\0\1\2\3"
        self.profile = bytes(foreign)
        plain = [image.encode(self.pixels, form, metadata=meta) for form in ("PNG", "JPEG", "WEBP")]
        deep = [image.encode(self.pixels, form, **wide) for form in ("PNG", "TIFF")]
        forms = ("GIF", "BMP", "AVIF", "JPEG2000", "PPM", "TIFF")
        packed = ("tiff_lzw", "tiff_adobe_deflate", "packbits", "jpeg")
        self.files = [
            *(
                pillow("PNG", icc_profile=self.profile),
                *plain,
                *deep,
                *map(pillow, forms),
                pillow("PNG", "P"),
                pillow("PNG", "1"),
            ),
            *(pillow("JPEG", "CMYK"), pillow("JPEG", progressive=True), pillow("GIF", "P")),
            *(pillow("TIFF", compression=name) for name in packed),
            *(pillow("TIFF", mode) for mode in ("CMYK", "LAB", "L")),
            *(pillow("WEBP", lossless=True), pillow("WEBP", "RGBA"), pillow("AVIF", "RGBA")),
            *(self.tifffile(np.uint16, "separate"), self.tifffile(np.float32, "contig")),
        ]

    def tifffile(self, kind: Any, planes: str) -> bytes:
        """A TIFF that Pillow has no mode for."""
        import tifffile

        top = 1 if kind is np.float32 else 65535
        samples = (self.pixels * top).astype(kind)
        if planes == "contig":
            samples = samples.transpose(1, 2, 0)
        buffer = io.BytesIO()
        tifffile.imwrite(
            buffer, samples, photometric="rgb", planarconfig=planes, compression="zlib"
        )
        return buffer.getvalue()

    def make(self, rng: random.Random) -> bytes:
        if rng.random() < 0.2:
            return mutate_png(rng, rng.choice(self.files[:2]), lambda n, b: self.chunk(rng, n, b))
        return mutate_bytes(rng, rng.choice(self.files), self.files)

    def chunk(self, rng: random.Random, name: bytes, body: bytes) -> bytes:
        """A changed chunk; profiles are changed inside their compression."""
        if name == b"IHDR" and rng.random() < 0.5:
            sides = [rng.choice((0, 1, 2**15, 2**16, 2**31 - 1, 2**32 - 1)) for _ in range(2)]
            return struct.pack(">II", *sides) + body[8:]
        if name == b"iCCP" and rng.random() < 0.9:
            return b"profile\0\0" + zlib.compress(mutate_bytes(rng, self.profile))
        if name == b"IDAT" and rng.random() < 0.5:
            return zlib.compress(bytes(rng.choice((0, 100, 1 << 22))))
        return mutate_bytes(rng, body)

    def feed(self, case: bytes) -> None:
        with contextlib.suppress(fs.ImageError):
            metadata_of_bytes(case)
        picture = image.load(case, max_pixels=MOST_PIXELS)
        if not np.isfinite(picture.pixels).all() or picture.pixels.dtype != np.float32:
            raise AssertionError("a picture that is not one")


# ---- weights ----


class Touch:
    """Pickles as a call that leaves a file: code in a weights file."""

    def __init__(self, call: Any, *arguments: Any) -> None:
        self.reduced = (call, arguments)

    def __reduce__(self) -> Any:
        return self.reduced


class Weights(Target):
    """.safetensors, .npz, .h5 and .pth files, with and without code in their pickles."""

    name, share = "weights", 16

    def prepare(self) -> None:
        from safetensors.numpy import save

        rng = np.random.default_rng(1)
        shapes = {"conv1_1": (64, 3, 3, 3), "conv1_2": (64, 64, 3, 3)}
        arrays: dict[str, Any] = {}
        for layer, shape in shapes.items():
            arrays[f"{layer}.weight"] = rng.normal(size=shape).astype(np.float32) * np.float32(0.05)
            arrays[f"{layer}.bias"] = np.zeros(64, np.float32)
        Path(TINY).write_bytes(save(arrays))
        first = {name: array for name, array in arrays.items() if "conv1_1" in name}
        wrong = {**first, "conv1_1.bias": np.zeros(63, np.float32)}
        foreign = {"features.0.weight": arrays["conv1_1.weight"].astype(np.float64)}
        foreign["features.0.bias"] = np.full(64, np.nan)
        self.files = [save(first), save(wrong), save(foreign, {"convention": "torchvision"})]
        for kind in (np.savez, np.savez_compressed):
            buffer = io.BytesIO()
            kind(buffer, **first)
            self.files.append(buffer.getvalue())
        for options in ({}, {"compression": "gzip", "shuffle": True, "chunks": (3, 3, 3, 8)}):
            self.files.append(self.hdf5(arrays, options))
        objects = io.BytesIO()
        code: Any = np.empty(2, object)
        code[:] = [Touch(os.system, "touch canary"), Touch(eval, "open('canary', 'w')")]
        np.savez(objects, **{"conv1_1.weight": code, "conv1_1.bias": first["conv1_1.bias"]})
        self.files += [objects.getvalue(), *self.torch(first), *self.pickles(code)]

    def hdf5(self, arrays: dict[str, Any], options: dict[str, Any]) -> bytes:
        """A .h5 file as Keras writes it, with links out of the file and strings beside."""
        buffer = io.BytesIO()
        with h5py.File(buffer, "w") as file:
            kernel = arrays["conv1_1.weight"].transpose(2, 3, 1, 0)
            file.create_dataset("block1_conv1/block1_conv1_W_1:0", data=kernel, **options)
            file.create_dataset("block1_conv1/block1_conv1_b_1:0", data=arrays["conv1_1.bias"])
            file["block1_conv2"] = h5py.ExternalLink("/etc/passwd", "/")
            file["loop"] = h5py.SoftLink("/")
            file.attrs["words"] = ["block1_conv1"]
        return buffer.getvalue()

    def torch(self, arrays: dict[str, Any]) -> list[bytes]:
        """Both forms of .pth, where torch is at hand."""
        try:
            import torch
        except ImportError:
            return []
        files = []
        for new in (True, False):
            buffer = io.BytesIO()
            tensors = {name: torch.from_numpy(array) for name, array in arrays.items()}
            torch.save(tensors, buffer, _use_new_zipfile_serialization=new)
            files.append(buffer.getvalue())
        return files

    def pickles(self, code: Any) -> list[bytes]:
        """Code where .pth files have their description."""
        files = []
        for item in (code[0], code[1], {"conv1_1.weight": code[0]}, Touch(exec, "import this")):
            for protocol in (2, 4):
                buffer = io.BytesIO()
                with zipfile.ZipFile(buffer, "w") as archive:
                    archive.writestr("archive/data.pkl", pickle.dumps(item, protocol))
                    archive.writestr("archive/data/0", bytes(64))
                files.append(buffer.getvalue())
            legacy = (0x1950A86A20F9469CFC6C, 1001, {"little_endian": True}, item, ["0"])
            files.append(b"".join(pickle.dumps(part, 2) for part in legacy))
        return files

    def make(self, rng: random.Random) -> bytes:
        data = rng.choice(self.files)
        if data.startswith(b"PK") and rng.random() < 0.4:
            return self.rezipped(rng, data)
        if data[8:9] == b"{" and rng.random() < 0.4:
            (size,) = struct.unpack_from("<Q", data)
            header = json.dumps(mutate_data(rng, json.loads(data[8 : 8 + size]))).encode()
            return struct.pack("<Q", len(header)) + header + data[8 + size :]
        return b"" if rng.random() < 0.002 else mutate_bytes(rng, data, self.files)

    def rezipped(self, rng: random.Random, data: bytes) -> bytes:
        """A changed member in an archive that is whole, so that what reads members looks."""
        buffer = io.BytesIO()
        with zipfile.ZipFile(io.BytesIO(data)) as old, zipfile.ZipFile(buffer, "w") as new:
            names = old.namelist()
            chosen = rng.choice(names)
            for name in names:
                body = old.read(name)
                new.writestr(name, mutate_bytes(rng, body) if name == chosen else body)
        return buffer.getvalue()

    def feed(self, case: bytes) -> None:
        Path("weights.bin").write_bytes(case)
        weights = load_weights(
            "./weights.bin?convention=rgb" if len(case) % 7 == 0 else "./weights.bin"
        )
        if not all(np.isfinite(array).all() for array in weights.arrays.values()):
            raise AssertionError("weights that are not finite")


# ---- graphs ----


class Graphs(Target):
    """ONNX files for the native network's reader."""

    name, share = "graphs", 8

    def prepare(self) -> None:
        self.files = [path.read_bytes() for path in sorted(models_directory().glob("*.onnx"))]

    def make(self, rng: random.Random) -> bytes:
        return mutate_bytes(rng, rng.choice(self.files), self.files)

    def feed(self, case: bytes) -> None:
        Path("graph.onnx").write_bytes(case)
        read_chain(Path("graph.onnx"), "vgg16", "max" if len(case) % 2 else "avg")


# ---- jobs, manifests, records, checkpoints ----

ENGINE = {"weights": TINY, "threads": 1}
RUN = {"max_evaluations": 2, "scales": 1, "plateau": 0.0, "size": 16}
JOBS: dict[str, dict[str, Any]] = {
    "style_transfer": {
        "content": "a.png",
        "style": [["b.png", 1.0]],
        "strength": 2.0,
        "color": "match",
        "style_layers": {"conv1_1": 1.0},
        "content_layers": "conv1_2",
        "init": "noise",
        "masks": {"content": "labels.png", "style": "labels.png"},
        "smoothness": 0.1,
        **RUN,
    },
    "synthesize_texture": {
        "exemplar": "a.png",
        "layers": ["conv1_1", "conv1_2"],
        "long_range": "auto",
        "seamless": False,
        "seed": 3,
        "optimizer": {"optimizer": "Adam", "learning_rate": 0.02},
        **RUN,
    },
    "invert": {"image": "a.png", "layers": {"conv1_2": 1.0}, "init": "b.png", **RUN},
    "mix": {"images": [["a.png", 0.7], ["b.png", 0.3]], "layers": "conv1_1", "at": "pixels", **RUN},
    "minimize": {
        "objective": [
            {"term": "Content", "image": {"path": "a.png"}, "layers": "conv1_1", "weight": 2.0},
            {"term": "Style", "image": {"path": "b.png"}, "layers": ["conv1_1"]},
            {"term": "TotalVariation", "weight": 0.1},
        ],
        "init": "a.png",
        "optimizer": "gd",
        "max_evaluations": 2,
    },
    "dream": {
        "image": "a.png",
        "layer": "conv1_2",
        "octaves": 1,
        "iterations": 1,
        "jitter": 2,
        "guide": "b.png",
        "lapnorm": 2,
        "zoom": 0.1,
        "rotate": 1.0,
        "margin": 4,
    },
    "visualize": {"layer": "conv1_1", "channel": {"3": 1.0}, "iterations": 1, "size": 16},
    "compose": {
        "image": "a.png",
        "steps": [
            {"step": "gamma", "value": 1.2},
            {"step": "convolve", "kernel": [[0, 1, 0], [1, 1, 1], [0, 1, 0]]},
            {"step": "blend", "b": "b.png", "alpha": 0.4, "mode": "multiply", "mask": "a.png"},
            {"step": "affine", "matrix": [[1, 0, 1], [0, 1, 2]]},
            {"step": "curves", "points": [[0, 0], [0.5, 0.7], [1, 1]]},
            {"step": "resize", "size": 9},
        ],
    },
    "image_analogy": {
        "a": "a.png",
        "a_prime": "b.png",
        "b": "a.png",
        "levels": 1,
        "rounds": 1,
        "patch": 3,
        "size": 10,
        "kappa": 1.0,
        "threads": 1,
    },
    "pattern": {"name": "lsystem", "axiom": "F", "rules": {"F": "F+F-F"}, "steps": 2, "size": 9},
}
PATTERNS: list[dict[str, Any]] = [
    JOBS["pattern"],
    {"name": "formula", "expression": "sin(x)*y", "t": 0.5, "palette": "dusk", "size": 9},
    {"name": "elementary_automaton", "rule": 30, "width": 9, "height": 9},
    {"name": "cellular_automaton", "rule": "B3/S23", "steps": 2, "size": 9},
    {"name": "mandelbrot", "size": 9, "max_iterations": 20, "zoom": 2.0, "center": [0.0, 0.1]},
    {"name": "trochoid", "size": 9},
    {"name": "sunflower", "size": 9, "seeds": 20},
    {"name": "iterated_function_system", "size": 9, "samples": 1},
]
WORDS = (
    *("[", "]", "{", "}", '"', "'", "=", ",", "\n", "[[jobs]]", "[engine]", "#", "nan", "inf"),
    *("[" * 3000, "9" * 5000),
    *("-1", "1e309", "99999999999999999999", "true", "1979-05-27T07:32:00Z", '"""', "\\u0000"),
    *("verb", "arguments", "engine", "output", "defaults", "weights", "size", "a.png", "\x00"),
)


def job_of(rng: random.Random) -> dict[str, Any]:
    """A valid job of any verb."""
    verb = rng.choice((*VERBS, *PIXEL_VERBS))
    arguments = rng.choice(PATTERNS) if verb == "pattern" else JOBS[verb]
    job: dict[str, Any] = {"verb": verb, "arguments": arguments}
    if verb in VERBS:
        job["engine"] = ENGINE
    return job


def keys_of(job: dict[str, Any]) -> list[str]:
    """Names that an argument may be given by mistake."""
    return [*job["arguments"], "masks", "memory_limit", "callback", "self", "options"]


def toml_of(job: dict[str, Any]) -> str:
    """A job as TOML."""
    lines = [f"verb = {json.dumps(job['verb'])}", 'output = "out.png"']
    for table in ("engine", "arguments"):
        lines.append(f"[{table}]")
        lines += [f"{k} = {inline(v)}" for k, v in job.get(table, {}).items() if v is not None]
    return "\n".join(lines) + "\n"


def inline(value: Any) -> str:
    """A TOML value on one line."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{json.dumps(k)} = {inline(v)}" for k, v in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(inline, value)) + "]"
    return json.dumps(value)


class JobFiles(Target):
    """JOB.toml as text: what is still a job is run."""

    name, share = "job files", 6

    def make(self, rng: random.Random) -> bytes:
        return mutate_text(rng, toml_of(job_of(rng)), WORDS).encode("utf-8", "surrogateescape")

    def feed(self, case: bytes) -> None:
        Path("JOB.toml").write_bytes(case)
        job = read_job("JOB.toml")
        check_job(job)
        if not BIG.search(case.decode("utf-8", "replace")):
            run_job("JOB.toml", callback=few)


class Jobs(Target):
    """Jobs as plain data, run."""

    name, share = "jobs", 12

    def make(self, rng: random.Random) -> bytes:
        job = job_of(rng)
        return json.dumps(mutate_data(rng, job, keys_of(job))).encode()

    def feed(self, case: bytes) -> None:
        job = json.loads(case)
        if isinstance(job, dict):
            run_job(job, callback=few)


class Manifests(Target):
    """CSV, JSON lines and TOML; small batches of patterns are run."""

    name, share = "manifests", 5

    def make(self, rng: random.Random) -> bytes:
        kind = rng.choice(("csv", "jsonl", "toml"))
        rows = []
        for number in range(3):
            job = {"verb": "pattern", "arguments": PATTERNS[number], "output": f"out/{number}.png"}
            rows.append(mutate_data(rng, job, keys_of(job)) if rng.random() < 0.3 else job)
        if kind == "csv":
            text = "verb,output,name,size,t,engine.weights\n" + "".join(
                f"pattern,out/{number}.png,formula,9,{number},\n" for number in range(3)
            )
        elif kind == "jsonl":
            defaults = {"defaults": {"verb": "pattern", "arguments": {"size": 9}}}
            text = "\n".join(json.dumps(row) for row in [defaults, *rows])
        else:
            text = "".join(
                f'[[jobs]]\nverb = "pattern"\noutput = "out/{n}.png"\n'
                f"arguments = {inline(PATTERNS[n])}\n"
                for n in range(3)
            )
        if kind != "jsonl" or rng.random() < 0.5:
            text = mutate_text(rng, text, (*WORDS, '"x', ";", "\r", "{}", "[]", "null"))
        return kind.encode() + b"\n" + text.encode("utf-8", "surrogateescape")

    def feed(self, case: bytes) -> None:
        kind, _, text = case.partition(b"\n")
        path = Path(f"manifest.{kind.decode()}")
        path.write_bytes(text)
        read_manifest(path)
        words = text.decode("utf-8", "replace")
        outputs = re.findall(r"[^\s\",=]*\.(?:png|jpe?g|tiff?|webp)", words)
        if not BIG.search(words) and all(name in OUTPUTS for name in outputs) and ".." not in words:
            report = fs.batch(path, again=True)
            for item in report.items:
                if item.status == "failed" and not issubclass(named(item.error), fs.FastsynthError):
                    raise AssertionError(f"{item.place}: {item.error}: {item.message}")


OUTPUTS = ("out/0.png", "out/1.png", "out/2.png", "a.png", "b.png")


def named(error: str) -> type:
    """The class of an error that a report names."""
    found = getattr(fs, error, Exception)
    return found if isinstance(found, type) else Exception


class Records(Target):
    """Pictures whose record is somebody else's: replayed."""

    name, share = "records", 6

    def prepare(self) -> None:
        self.records = []
        for verb in (*VERBS, *PIXEL_VERBS):
            arguments = PATTERNS[1] if verb == "pattern" else JOBS[verb]
            job: dict[str, Any] = {"verb": verb, "arguments": arguments}
            if verb in VERBS:
                job["engine"] = ENGINE
            made = run_job(job, callback=few)
            self.records.append(json.loads(json.dumps(made.provenance)))

    def make(self, rng: random.Random) -> bytes:
        record = rng.choice(self.records)
        changed = mutate_data(rng, record, [*record, *record["arguments"]])
        return json.dumps(changed, allow_nan=True).encode()

    def feed(self, case: bytes) -> None:
        record = json.loads(case)
        pixels = np.zeros((3, 4, 4), np.float32)
        image.save("record.png", pixels, metadata=record)
        fs.replay("record.png", callback=few)


class Checkpoints(Target):
    """Files that a run is to go on from, damaged or made up, with checksums that are right."""

    name, share = "checkpoints", 6
    job: ClassVar[dict[str, Any]] = {
        "verb": "invert",
        "engine": ENGINE,
        "arguments": {**JOBS["invert"], "max_evaluations": [3, 3], "scales": 2, "size": 64},
    }

    def prepare(self) -> None:
        self.files = []
        for optimizer in ("lbfgs", "adam", "gd"):
            for stop in (2, 5):
                path = Path("run.checkpoint")
                path.unlink(missing_ok=True)
                self.run(optimizer, path, stop)
                self.files.append((optimizer, path.read_bytes()))
        path.unlink()

    def run(self, optimizer: str, path: Path, stop: int) -> None:
        """Runs the job with a checkpoint after each iteration, up to some callbacks."""
        arguments = {**self.job["arguments"], "optimizer": optimizer}
        count = 0

        def callback(_: Any) -> bool:
            nonlocal count
            count += 1
            return count < stop

        job = {**self.job, "arguments": arguments}
        run_job(job, checkpoint=path, checkpoint_seconds=0.0, callback=callback)

    def make(self, rng: random.Random) -> bytes:
        optimizer, data = rng.choice(self.files)
        if rng.random() < 0.25:
            data = mutate_bytes(rng, data, [other for _, other in self.files])
        else:
            size, _ = struct.unpack_from("<QQ", data, 8)
            header = json.loads(data[24 : 24 + size])
            run = header.pop("run")
            header = mutate_data(rng, header, [*header, *(header["state"] or {})])
            if isinstance(header, dict):
                header["run"] = run
            text = json.dumps(header).encode()
            start = data[:8] + struct.pack("<QQ", len(text), zlib.crc32(text))
            data = start + text + data[24 + size :]
        return optimizer.encode() + b"\n" + data

    def feed(self, case: bytes) -> None:
        optimizer, _, data = case.partition(b"\n")
        path = Path("run.checkpoint")
        path.write_bytes(data)
        try:
            self.run(optimizer.decode(), path, 4)
        except fs.CheckpointError:
            if path.read_bytes() != data:
                raise AssertionError("a refused checkpoint was touched") from None
            raise


# ---- formulas and steps ----


class Formulas(Target):
    """Expressions, drawn at a few pixels."""

    name, share = "formulas", 8

    def prepare(self) -> None:
        self.words = [
            *functions(),
            *("x", "y", "r", "theta", "t", "pi", "1e308", "1e-320", "0", "(", ")", "(" * 90, ","),
            *("+", "-", "*", "/", "%", "^", "**", "<", ">=", "==", "!", "&&", "||", "?", ":", ";"),
            *("__import__('os')", "x.__class__", "lambda:0", "\x00", "1_0", "0x1f", "٣", "½"),
        ]

    def make(self, rng: random.Random) -> bytes:
        if rng.random() < 0.3:
            return " ".join(rng.choice(self.words) for _ in range(rng.randrange(14))).encode()
        start = rng.choice(
            (
                "sin(12*r - 5*theta + 3*fbm(2*x, 2*y))",
                "x > 0 ? clamp(x, 0, 1) : mod(y, 0.1)",
                "x^2; y^-3; min(x, y, t)",
            )
        )
        if rng.random() < 0.6:  # one word for another
            tokens = re.findall(r"\w+|\W", start)
            for _ in range(rng.choice((1, 1, 2, 3))):
                tokens[rng.randrange(len(tokens))] = rng.choice(self.words)
            return "".join(tokens).encode()
        return mutate_text(rng, start, self.words).encode("utf-8", "surrogateescape")

    def feed(self, case: bytes) -> None:
        formula(case.decode("utf-8", "surrogateescape"), size=5, threads=1)


class StepTexts(Target):
    """What --step takes, done to a picture."""

    name, share = "steps", 7

    def prepare(self) -> None:
        self.picture = np.arange(8 * 9 * 3, dtype=np.uint8).reshape(8, 9, 3)
        self.words = [
            *(*STEPS, "value=", "size=", "mode=multiply", "b=a.png", "mask=b.png", "alpha=0.5"),
            *("sharpen", "[1, 2]", "[[1,2],[3]]", "nan", "-1", "1e309", "'", '"', "{a=1}", "true"),
            *("threads=99", "seed=-1", "kernel=[[0]]", "points=[[0,0],[1,1]]", "9999999999"),
        ]

    def make(self, rng: random.Random) -> bytes:
        start = rng.choice(
            (
                *("gamma 1.2", "blend b=a.png alpha=0.8 mode=multiply", "convolve sharpen"),
                *("affine rotate=30 scale=1.2", "levels 0.1 0.9", "curves [[0,0],[0.5,0.7],[1,1]]"),
                *("posterize 4", "pencil_sketch", "threshold 0.5", "resize 7", "convolve gaussian"),
                *("match_color a.png", "match_histogram target=b.png", "hue_saturation hue=30"),
                f"{rng.choice(STEPS)} {rng.choice(self.words)} {rng.choice(self.words)}",
            )
        )
        return mutate_text(rng, start, self.words).encode("utf-8", "surrogateescape")

    def feed(self, case: bytes) -> None:
        text = case.decode("utf-8", "surrogateescape")
        step = parse_step(text)
        if not BIG.search(text):
            Pipeline([step])(self.picture, threads=1)


TARGETS: tuple[type[Target], ...] = (
    *(Pictures, Weights, Graphs, JobFiles, Jobs, Manifests, Records, Checkpoints, Formulas),
    StepTexts,
)
