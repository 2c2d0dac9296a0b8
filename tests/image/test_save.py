"""Files: what is written, whole or not at all, with its provenance."""

from __future__ import annotations

import io
import json
import logging
import os
import pathlib
import stat
from typing import Any

import numpy as np
import png
import pytest
import tifffile
from PIL import Image

from fastsynth._errors import ImageError
from fastsynth.image import (
    Kind,
    Picture,
    check_writable,
    encode,
    load,
    read_metadata,
    save,
    to_array,
    to_output,
    to_pil,
)

RNG = np.random.default_rng(2)
PIXELS = RNG.random((3, 7, 10), np.float32)
ALPHA = RNG.random((7, 10), np.float32)
META = {
    "verb": "style_transfer",
    "seed": np.int64(3),
    "lr": np.float32(0.5),
    "losses": np.arange(3.0),
    "path": pathlib.PurePosixPath("a/ü.png"),
    "nested": {"none": None, "yes": True, "name": "Тюбинген 🎨"},
}
META_BACK = {
    "verb": "style_transfer",
    "seed": 3,
    "lr": 0.5,
    "losses": [0.0, 1.0, 2.0],
    "path": "a/ü.png",
    "nested": {"none": None, "yes": True, "name": "Тюбинген 🎨"},
}


def listing(folder: pathlib.Path) -> list[str]:
    return [entry.name for entry in folder.iterdir()]


SUFFIXES = [".png", ".PNG", ".jpg", ".jpeg", ".tif", ".tiff", ".webp"]


@pytest.mark.parametrize("suffix", [".png", ".tif", ".tiff"])
@pytest.mark.parametrize("bit_depth", [8, 16])
@pytest.mark.parametrize("alpha", [None, ALPHA], ids=["opaque", "alpha"])
@pytest.mark.parametrize("grey", [False, True])
def test_lossless_round_trip(
    tmp_path: pathlib.Path, suffix: str, bit_depth: int, alpha: Any, grey: bool
) -> None:
    path = tmp_path / f"out{suffix}"
    assert save(path, PIXELS, alpha=alpha, bit_depth=bit_depth, grey=grey, metadata=META) == path
    back = load(path)
    top = 2**bit_depth - 1
    wanted = np.einsum("c,chw->hw", [0.299, 0.587, 0.114], PIXELS)[None] if grey else PIXELS
    expected = np.rint(wanted * np.float32(top)) / top
    # half a unit in the last place of a 16-bit step: .299 + .587 + .114 rounds differently in
    # float64
    np.testing.assert_allclose(
        back.pixels, np.broadcast_to(expected, (3, 7, 10)), atol=1.01 / top if grey else 1e-7
    )
    assert back.kind.dtype == f"uint{bit_depth}"
    assert back.kind.channels == (1 if grey else 3) + (alpha is not None)
    if alpha is None:
        assert back.alpha is None
    else:
        assert back.alpha is not None
        np.testing.assert_allclose(back.alpha, np.rint(alpha * np.float32(top)) / top, atol=1e-7)
    assert read_metadata(path) == META_BACK
    assert listing(tmp_path) == [path.name]


@pytest.mark.parametrize("channels", [3, 4])
def test_other_programs_read_the_16_bit_files(channels: int) -> None:
    alpha = ALPHA if channels == 4 else None
    expected = np.rint(np.dstack([*PIXELS, ALPHA][:channels]) * np.float32(65535))
    _, _, rows, info = png.Reader(
        bytes=encode(PIXELS, alpha=alpha, bit_depth=16, metadata=META)
    ).read()
    assert info["bitdepth"] == 16
    np.testing.assert_array_equal(
        np.array([list(r) for r in rows]).reshape(7, 10, channels), expected
    )
    tiff = encode(PIXELS, "TIFF", alpha=alpha, bit_depth=16)
    np.testing.assert_array_equal(tifffile.imread(io.BytesIO(tiff)), expected)


def test_halves_round_to_even() -> None:
    halves = (np.array([0, 1, 2, 3, 253, 254]) + 0.5) / 255
    exact = halves.astype(np.float32).astype(float) * 255
    assert np.abs(exact % 1 - 0.5).max() < 1e-4
    pixels = np.array([0.5, 1.5, 2.5, -0.2, 1.7], np.float32) / np.array(
        [255, 255, 255, 1, 1], np.float32
    )
    out = to_array(np.broadcast_to(pixels, (3, 1, 5)))
    assert out[0, :, 0].tolist() == [0, 2, 2, 0, 255]


def test_all_levels_survive() -> None:
    for dtype, levels in (("uint8", 256), ("uint16", 65536)):
        array = np.arange(levels, dtype=dtype).reshape(16, -1, 1).repeat(3, 2)
        picture = load(array)
        np.testing.assert_array_equal(to_array(picture.pixels, dtype=dtype), array)  # type: ignore[arg-type]


@pytest.mark.parametrize("suffix", [".jpg", ".jpeg", ".webp"])
def test_lossy_round_trip(tmp_path: pathlib.Path, suffix: str) -> None:
    ramp = np.broadcast_to(np.linspace(0, 1, 64, dtype=np.float32), (3, 48, 64))
    path = tmp_path / f"out{suffix}"
    save(path, ramp, metadata=META)
    assert np.abs(load(path).pixels - ramp).max() < 0.02
    assert read_metadata(path) == META_BACK
    save(tmp_path / f"low{suffix}", PIXELS.repeat(9, 1).repeat(9, 2), quality=20)
    save(tmp_path / f"high{suffix}", PIXELS.repeat(9, 1).repeat(9, 2), quality=95)
    assert (tmp_path / f"low{suffix}").stat().st_size < (tmp_path / f"high{suffix}").stat().st_size


def test_webp_at_quality_100_is_lossless_with_its_alpha() -> None:
    back = load(encode(PIXELS, "WEBP", alpha=ALPHA, quality=100))
    np.testing.assert_array_equal(to_array(back.pixels, back.alpha), to_array(PIXELS, ALPHA))


def test_jpeg_keeps_full_colour_resolution() -> None:
    image = Image.open(io.BytesIO(encode(PIXELS, "JPEG")))
    assert [component[1:3] for component in image.layer] == [(1, 1)] * 3  # type: ignore[attr-defined]


def test_jpeg_flattens_alpha_on_white_and_says_so(caplog: pytest.LogCaptureFixture) -> None:
    red = np.zeros((3, 16, 16), np.float32)
    red[0] = 1
    alpha = np.full((16, 16), 0.5, np.float32)
    with caplog.at_level(logging.WARNING, "fastsynth.image"):
        data = encode(red, "JPEG", alpha=alpha)
    assert "flattened on white" in caplog.text
    np.testing.assert_allclose(load(data).pixels[:, 8, 8], [1, 0.5, 0.5], atol=0.02)


@pytest.mark.parametrize("suffix", [".png", ".tif", ".jpg", ".webp"])
@pytest.mark.parametrize("bit_depth", [8, 16])
def test_equal_input_gives_equal_bytes(tmp_path: pathlib.Path, suffix: str, bit_depth: int) -> None:
    depth = bit_depth if suffix in (".png", ".tif") else 8
    paths = [save(tmp_path / f"{n}{suffix}", PIXELS, bit_depth=depth, metadata=META) for n in "ab"]
    assert paths[0].read_bytes() == paths[1].read_bytes()


def test_a_picture_saves_with_its_alpha(tmp_path: pathlib.Path) -> None:
    picture = Picture.of(PIXELS, ALPHA)
    back = load(save(tmp_path / "p.png", picture, bit_depth=16))
    assert back.alpha is not None
    np.testing.assert_allclose(back.alpha, ALPHA, atol=1e-5)
    np.testing.assert_allclose(back.pixels, PIXELS, atol=1e-5)


# ---- metadata ----


def test_files_without_our_metadata(tmp_path: pathlib.Path) -> None:
    for suffix in SUFFIXES:
        assert read_metadata(save(tmp_path / f"plain{suffix}", PIXELS)) is None
    foreign = tmp_path / "foreign.tif"
    tifffile.imwrite(foreign, np.zeros((4, 4), np.uint8), description='{"somebody": "else"}')
    assert read_metadata(foreign) is None
    exif = Image.Exif()
    exif[0x8769] = {0x9286: b"ASCII\0\0\0holiday"}
    Image.new("RGB", (4, 4)).save(tmp_path / "holiday.jpg", exif=exif)
    assert read_metadata(tmp_path / "holiday.jpg") is None


def test_metadata_of_what_is_no_picture(tmp_path: pathlib.Path) -> None:
    with pytest.raises(ImageError, match="cannot read"):
        read_metadata(tmp_path / "missing.png")
    (tmp_path / "text.png").write_text("hello")
    with pytest.raises(ImageError, match=r"text\.png"):
        read_metadata(tmp_path / "text.png")


@pytest.mark.parametrize(
    ("metadata", "message"),
    [
        ({"loss": float("nan")}, "expected finite numbers"),
        ({"f": object()}, "object has no JSON form"),
        ([1], "list; expected a dict"),
    ],
)
def test_metadata_that_is_no_json(metadata: Any, message: str, tmp_path: pathlib.Path) -> None:
    for form in ("PNG", "TIFF", "JPEG", "WEBP"):
        with pytest.raises(ImageError, match=message):
            encode(PIXELS, form, metadata=metadata)  # type: ignore[arg-type]
    with pytest.raises(ImageError, match=message):
        save(tmp_path / "a.png", PIXELS, metadata=metadata)
    assert listing(tmp_path) == []


@pytest.mark.parametrize("suffix", [".png", ".tif", ".webp", ".jpg"])
def test_long_histories(
    tmp_path: pathlib.Path, suffix: str, caplog: pytest.LogCaptureFixture
) -> None:
    metadata = {"seed": 1, "losses": list(range(40_000)), "verb": "texture"}
    path = save(tmp_path / f"long{suffix}", PIXELS, metadata=metadata)
    back = read_metadata(path)
    if suffix == ".jpg":  # one segment of 64 KB: the largest entry is left out, by name
        assert back == {"seed": 1, "verb": "texture", "omitted": ["losses"]}
        assert "left out losses" in caplog.text
    else:
        assert back == metadata
    assert load(path).size == (10, 7)


def test_png_metadata_is_plain_text_for_other_programs(tmp_path: pathlib.Path) -> None:
    for depth in (8, 16):
        path = save(tmp_path / "m.png", PIXELS, bit_depth=depth, metadata={"seed": 5})
        with Image.open(path) as image:
            assert json.loads(image.info["fastsynth"]) == {"seed": 5}


# ---- whole or not at all ----


def failing_write(*_: object, **__: object) -> None:
    raise OSError(28, "No space left on device")


@pytest.mark.parametrize("function", ["fsync", "fdopen", "open"])
@pytest.mark.parametrize("existing", [False, True])
def test_a_full_disk_leaves_nothing(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch, function: str, existing: bool
) -> None:
    path = tmp_path / "out.png"
    if existing:
        path.write_bytes(b"before")
    with monkeypatch.context() as patch:
        patch.setattr(os, function, failing_write)
        with pytest.raises(ImageError, match="No space left on device; free space"):
            save(path, PIXELS)
    assert listing(tmp_path) == (["out.png"] if existing else [])
    if existing:
        assert path.read_bytes() == b"before"


def test_a_failing_rename_leaves_nothing(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(pathlib.Path, "replace", failing_write)
        with pytest.raises(ImageError, match="cannot write"):
            save(tmp_path / "out.png", PIXELS)
    assert listing(tmp_path) == []


def test_an_interrupt_leaves_nothing(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(_: int) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "fsync", interrupt)
    with pytest.raises(KeyboardInterrupt):
        save(tmp_path / "out.png", PIXELS)
    monkeypatch.undo()
    assert listing(tmp_path) == []


@pytest.mark.skipif(os.name != "posix", reason="permissions of POSIX")
def test_permissions_and_links(tmp_path: pathlib.Path) -> None:
    mask = os.umask(0o027)
    try:
        path = save(tmp_path / "new.png", PIXELS)
    finally:
        os.umask(mask)
    assert stat.S_IMODE(path.stat().st_mode) == 0o640
    path.chmod(0o604)
    save(path, PIXELS)
    assert stat.S_IMODE(path.stat().st_mode) == 0o604
    link = tmp_path / "link.png"
    link.symlink_to(path)
    path.write_bytes(b"")
    save(link, PIXELS)
    assert link.is_symlink()
    assert load(path).size == (10, 7)


@pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="root may write everywhere")
def test_a_read_only_directory(tmp_path: pathlib.Path) -> None:
    tmp_path.chmod(0o500)
    try:
        for call in (lambda p: save(p, PIXELS), check_writable):
            with pytest.raises(ImageError, match="Permission denied"):
                call(tmp_path / "out.png")
    finally:
        tmp_path.chmod(0o700)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("out.bmp", r"suffix is '.bmp'; expected one of .png"),
        ("out", "suffix is ''"),
        ("no/such/out.png", "no directory.*create it first"),
        ("dir.png", "directory"),
        ("a\0b.png", "cannot write"),
        ("x" * 300 + ".png", "cannot write"),
    ],
)
def test_targets_that_cannot_be_written(tmp_path: pathlib.Path, name: str, message: str) -> None:
    (tmp_path / "dir.png").mkdir()
    with pytest.raises(ImageError, match=message):
        check_writable(tmp_path / name) if len(name) < 300 else save(tmp_path / name, PIXELS)
    with pytest.raises(ImageError, match=message):
        save(tmp_path / name, PIXELS)
    assert listing(tmp_path) == ["dir.png"]


@pytest.mark.parametrize("target", [None, 3, b"out.png"])
def test_targets_that_are_no_paths(target: Any) -> None:
    with pytest.raises(ImageError, match="expected a path"):
        check_writable(target)


def test_check_writable_leaves_no_trace(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "out.png"
    assert check_writable(path) == path
    assert listing(tmp_path) == []
    path.write_bytes(b"before")
    check_writable(str(path), bit_depth=16, size=(10_000, 10_000))
    assert path.read_bytes() == b"before"


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("a.jpg", {"bit_depth": 16}, "JPEG holds 8 bits, not 16; save as PNG"),
        ("a.webp", {"bit_depth": 16}, "WEBP holds 8 bits"),
        ("a.png", {"bit_depth": 12}, "bit_depth is 12; expected 8 or 16"),
        ("a.jpg", {"quality": 0}, "quality is 0"),
        ("a.jpg", {"quality": 101}, "quality is 101"),
        ("a.jpg", {"quality": "best"}, "quality is 'best'"),
        ("a.webp", {"size": (16384, 10)}, "at most 16383 pixels a side, not 16384 × 10"),
        ("a.jpg", {"size": (10, 70000)}, "at most 65500"),
    ],
)
def test_what_a_format_cannot_hold(
    tmp_path: pathlib.Path, name: str, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(ImageError, match=message):
        check_writable(tmp_path / name, **options)
    size = options.pop("size", (4, 4))
    with pytest.raises(ImageError, match=message):
        save(tmp_path / name, np.zeros((3, size[1], size[0]), np.float32), **options)
    assert listing(tmp_path) == []


@pytest.mark.parametrize(
    ("pixels", "alpha", "message"),
    [
        (np.full((3, 2, 2), np.nan, np.float32), None, "4 of 4 values are NaN"),
        (np.zeros((2, 2, 3), np.float32), None, r"shape \(2, 2, 3\).*load"),
        (np.zeros((3, 2, 2), np.uint8), None, "uint8; expected planar float32"),
        (np.zeros((3, 0, 2), np.float32), None, "no pixels"),
        ("text", None, "pixels is str"),
        (
            np.zeros((3, 2, 2), np.float32),
            np.zeros((2, 3), np.float32),
            r"alpha is float32 \(2, 3\)",
        ),
    ],
)
def test_pixels_that_cannot_be_written(
    tmp_path: pathlib.Path, pixels: Any, alpha: Any, message: str
) -> None:
    with pytest.raises(ImageError, match=message):
        save(tmp_path / "out.png", pixels, alpha=alpha)
    assert listing(tmp_path) == []


# ---- out to memory ----


@pytest.mark.parametrize("mode", ["L", "LA", "RGB", "RGBA", "I;16", "I", "F"])
def test_pil_modes_come_back(mode: str) -> None:
    source = to_pil(PIXELS, ALPHA, mode=mode)
    assert source.mode == mode
    picture = load(source)
    out = to_output(picture.pixels, picture.alpha, picture.kind, grey=None)
    assert out.mode == mode
    # .299 + .587 + .114 of equal values can be off by a rounding, which shows in float only
    np.testing.assert_allclose(np.asarray(out), np.asarray(source), rtol=2e-7)
    colour = to_output(picture.pixels, picture.alpha, picture.kind)
    assert colour.mode == ("RGBA" if mode in ("LA", "RGBA") else "RGB")


def test_paths_give_pil_images_and_bytes_give_bytes(tmp_path: pathlib.Path) -> None:
    path = save(tmp_path / "a.png", PIXELS)
    assert isinstance(to_output(PIXELS, None, load(path).kind), Image.Image)
    for form, suffix in (("JPEG", ".jpg"), ("PNG", ".png"), ("TIFF", ".tif"), ("WEBP", ".webp")):
        data = save(tmp_path / f"b{suffix}", PIXELS).read_bytes()
        assert Image.open(io.BytesIO(to_output(PIXELS, None, load(data).kind))).format == form
    deep = load(encode(PIXELS, "TIFF", bit_depth=16))
    assert load(to_output(PIXELS, None, deep.kind)).kind.dtype == "uint16"
    gif = io.BytesIO()
    to_pil(PIXELS).save(gif, "GIF")
    assert to_output(PIXELS, None, load(gif.getvalue()).kind)[:4] == b"\x89PNG"
    jpeg = load(encode(PIXELS, "JPEG"))
    assert to_output(PIXELS, ALPHA, jpeg.kind)[:4] == b"\x89PNG"


def test_alpha_that_is_missing_is_opaque() -> None:
    out = to_output(PIXELS, None, Kind("ndarray", "uint8", 4))
    assert out.shape == (7, 10, 4)
    assert (out[..., 3] == 255).all()
    assert to_output(PIXELS, ALPHA, Kind("ndarray", "uint8", 3)).shape == (7, 10, 4)


def test_unknown_forms_are_refused() -> None:
    with pytest.raises(ImageError, match="mode is 'CMYK'"):
        to_pil(PIXELS, mode="CMYK")
    with pytest.raises(ImageError, match="channels is 5"):
        to_array(PIXELS, channels=5)
    with pytest.raises(ImageError, match="dtype is 'int8'"):
        to_array(PIXELS, dtype="int8")  # type: ignore[arg-type]
    with pytest.raises(ImageError, match="format is 'BMP'"):
        encode(PIXELS, "BMP")  # type: ignore[arg-type]
