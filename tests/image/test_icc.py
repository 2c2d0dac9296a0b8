"""Colour profiles, against LittleCMS and against the formulas."""

from __future__ import annotations

import io
import struct
from typing import Any

import numpy as np
import png
import pytest
import tifffile
from PIL import Image, ImageCms

from fastsynth.image import encode, load, to_array
from fastsynth.image.icc import description, parse_matrix, srgb_profile

# Adobe RGB (1998): gamma 563/256, primaries adapted to D50 as in its ICC profile.
ADOBE = {
    "r": (0.60974, 0.31111, 0.01947),
    "g": (0.20528, 0.62567, 0.06087),
    "b": (0.14919, 0.06322, 0.74457),
}
D50 = (0.9642, 1.0, 0.8249)


def s15(value: float) -> bytes:
    return struct.pack(">i", round(value * 65536))


def xyz(values: tuple[float, float, float]) -> bytes:
    return b"XYZ \0\0\0\0" + b"".join(s15(v) for v in values)


def curve(gamma: float) -> bytes:
    return b"curv\0\0\0\0" + struct.pack(">IH", 1, round(gamma * 256)) + b"\0\0"


def sampled(values: np.ndarray) -> bytes:
    body = np.rint(values * 65535).astype(">u2").tobytes()
    return b"curv\0\0\0\0" + struct.pack(">I", len(values)) + body + b"\0" * (-len(body) % 4)


def parametric(function: int, *parameters: float) -> bytes:
    return b"para\0\0\0\0" + struct.pack(">HH", function, 0) + b"".join(s15(p) for p in parameters)


def text(value: str) -> bytes:
    ascii_ = value.encode() + b"\0"
    body = b"desc\0\0\0\0" + struct.pack(">I", len(ascii_)) + ascii_ + bytes(4 + 4 + 2 + 1 + 67)
    return body + b"\0" * (-len(body) % 4)


def profile(space: bytes, tags: dict[str, bytes]) -> bytes:
    """An ICC version 2 display profile."""
    tags = {"desc": text("Test"), "wtpt": xyz(D50), "cprt": b"text\0\0\0\0none\0\0\0\0", **tags}
    offset = 128 + 4 + 12 * len(tags)
    table, body = struct.pack(">I", len(tags)), b""
    for name, data in tags.items():
        table += struct.pack(">4sII", name.encode(), offset + len(body), len(data))
        body += data
    head = struct.pack(
        ">I4sI4s4s4s6H4s",
        offset + len(body),
        b"",
        0x02400000,
        b"mntr",
        space,
        b"XYZ ",
        2020,
        1,
        1,
        0,
        0,
        0,
        b"acsp",
    )
    head = head.ljust(68, b"\0") + xyz(D50)[8:]
    return head.ljust(128, b"\0") + table + body


def rgb_profile(trc: bytes, primaries: dict[str, tuple[float, float, float]] = ADOBE) -> bytes:
    tags = {f"{c}XYZ": xyz(primaries[c]) for c in "rgb"} | {f"{c}TRC": trc for c in "rgb"}
    return profile(b"RGB ", tags)


def by_lcms(array: np.ndarray, icc: bytes) -> np.ndarray:
    out = ImageCms.profileToProfile(
        Image.fromarray(array),
        ImageCms.ImageCmsProfile(io.BytesIO(icc)),
        ImageCms.createProfile("sRGB"),
        renderingIntent=ImageCms.Intent.RELATIVE_COLORIMETRIC,
        outputMode="RGB",
    )
    assert out is not None
    return np.asarray(out)


def tagged(array: np.ndarray, icc: bytes, form: str = "PNG", **options: Any) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(array).save(buffer, form, icc_profile=icc, **options)
    return buffer.getvalue()


LEVELS = np.linspace(0, 255, 12).astype(np.uint8)
GRID = np.stack(np.meshgrid(LEVELS, LEVELS, LEVELS), -1).reshape(12, 144, 3)
SRGB_PARAMETERS = (2.4, 1 / 1.055, 0.055 / 1.055, 1 / 12.92, 0.04045)
x = np.linspace(0, 1, 1024)
SRGB_CURVE = np.where(x <= 0.04045, x / 12.92, ((x + 0.055) / 1.055) ** 2.4)


@pytest.mark.parametrize(
    "trc",
    [
        curve(563 / 256),
        curve(1.0),
        b"curv\0\0\0\0\0\0\0\0",
        sampled(SRGB_CURVE),
        parametric(0, 1.8),
        parametric(1, 2.2, 0.9, 0.1),
        parametric(2, 2.2, 0.8, 0.1, 0.05),
        parametric(3, *SRGB_PARAMETERS),
        parametric(4, 2.4, 0.9, 0.05, 0.07, 0.04, 0.01, 0.005),
    ],
    ids=["gamma", "linear", "identity", "sampled", "para0", "para1", "para2", "para3", "para4"],
)
def test_matrix_profiles_agree_with_littlecms(trc: bytes) -> None:
    icc = rgb_profile(trc)
    picture = load(tagged(GRID, icc))
    assert any("converted to sRGB" in note for note in picture.notes)
    ours = picture.pixels.transpose(1, 2, 0) * 255
    np.testing.assert_allclose(ours, by_lcms(GRID, icc), atol=1.3)  # LittleCMS rounds to 8 bits


def test_adobe_rgb_by_its_formula() -> None:
    value = np.array([[[180, 90, 60]]], np.uint8)
    linear = (value[0, 0] / 255) ** (563 / 256)
    # XYZ (D50) of Adobe RGB, then the inverse of the sRGB matrix adapted to D50 (Lindbloom).
    to_srgb = [
        [3.1338561, -1.6168667, -0.4906146],
        [-0.9787684, 1.9161415, 0.0334540],
        [0.0719453, -0.2289914, 1.4052427],
    ]
    rgb = np.array(to_srgb) @ np.array([ADOBE[c] for c in "rgb"]).T @ linear
    expected = 1.055 * rgb ** (1 / 2.4) - 0.055
    np.testing.assert_allclose(
        load(tagged(value, rgb_profile(curve(563 / 256)))).pixels[:, 0, 0], expected, atol=2e-3
    )


@pytest.mark.parametrize("form", ["PNG", "TIFF"])
def test_16_bits_stay_16_bits_through_a_profile(form: str) -> None:
    ramp = np.linspace(20000, 20512, 512).round().astype(np.uint16)  # two 8-bit steps
    samples = np.repeat(ramp[None, :, None], 3, axis=2)
    icc = rgb_profile(curve(563 / 256))
    buffer = io.BytesIO()
    if form == "TIFF":
        tifffile.imwrite(buffer, samples, photometric="rgb", iccprofile=icc, metadata=None)
    else:
        import zlib

        plain = io.BytesIO()
        png.Writer(512, 1, greyscale=False, bitdepth=16).write(
            plain, samples.reshape(1, -1).tolist()
        )
        header, *rest = png.Reader(bytes=plain.getvalue()).chunks()
        png.write_chunks(buffer, [header, (b"iCCP", b"x\0\0" + zlib.compress(icc)), *rest])
    row = load(buffer.getvalue()).pixels[0, 0]
    assert len(np.unique(row)) > 450
    assert (np.diff(row) >= 0).all()


@pytest.mark.parametrize(
    "icc",
    [
        srgb_profile(),
        rgb_profile(
            parametric(3, *SRGB_PARAMETERS),
            {
                "r": (0.43607, 0.22249, 0.01392),
                "g": (0.38515, 0.71687, 0.09708),
                "b": (0.14307, 0.06061, 0.71410),
            },
        ),
    ],
    ids=["embedded", "other bytes"],
)
def test_srgb_profiles_leave_the_samples_untouched(icc: bytes) -> None:
    picture = load(tagged(GRID, icc))
    np.testing.assert_array_equal(to_array(picture.pixels), GRID)
    assert picture.notes == ()


def test_littlecms_own_srgb_is_recognised() -> None:
    made = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    matrix = parse_matrix(made)
    assert matrix is not None
    assert matrix.is_srgb()


def test_the_embedded_profile_is_the_same_every_time() -> None:
    first = srgb_profile()
    srgb_profile.cache_clear()
    assert srgb_profile() == first
    assert struct.unpack(">6H", first[24:36]) == (2000, 1, 1, 0, 0, 0)
    assert "sRGB" in description(first)
    np.testing.assert_allclose(by_lcms(GRID, first), GRID, atol=1)


def test_grey_profiles() -> None:
    grey = np.arange(256, dtype=np.uint8).reshape(16, 16)
    icc = profile(b"GRAY", {"kTRC": curve(1.0)})
    linear = np.arange(256) / 255
    expected = np.where(linear <= 0.0031308, linear * 12.92, 1.055 * linear ** (1 / 2.4) - 0.055)
    picture = load(tagged(grey, icc))
    np.testing.assert_allclose(picture.pixels[1].ravel(), expected, atol=1e-5)
    assert picture.kind.channels == 1


def test_an_rgb_profile_on_a_grey_picture() -> None:
    grey = np.arange(256, dtype=np.uint8).reshape(16, 16)
    icc = rgb_profile(curve(1.0))
    np.testing.assert_allclose(
        load(tagged(grey, icc)).pixels * 255,
        by_lcms(np.repeat(grey[..., None], 3, 2), icc).transpose(2, 0, 1),
        atol=1.3,
    )


def test_a_lab_table_profile_goes_through_littlecms() -> None:
    lab = ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB")).tobytes()
    assert parse_matrix(lab) is None
    picture = load(tagged(GRID, lab))  # it does not fit an RGB picture: noted, not fatal
    np.testing.assert_array_equal(to_array(picture.pixels), GRID)
    assert any("ignored" in note for note in picture.notes)


@pytest.mark.parametrize(
    "damaged",
    [
        b"no profile at all",
        rgb_profile(curve(2.2))[:150],
        rgb_profile(curve(2.2)).replace(b"curv", b"crvu"),
        rgb_profile(parametric(9, 1.0)),
        rgb_profile(curve(2.2), dict.fromkeys("rgb", (0.3, 0.3, 0.3))),
        rgb_profile(parametric(1, 1.0, 0.0, 0.0)),
        rgb_profile(parametric(3, -9.0, 1.0, 1e-4, 0.0, 0.0)),  # up to 1e36
        rgb_profile(parametric(0, -1.0)),  # infinite at 0
        rgb_profile(b"curv\0\0\0\0\0\0\xff\xff"),
        profile(b"GRAY", {"kTRC": curve(1.0)}),
        profile(b"CMYK", {}),
    ],
    ids=[
        "text",
        "cut",
        "type",
        "function",
        "singular",
        "a=0",
        "huge",
        "pole",
        "samples",
        "grey",
        "cmyk",
    ],
)
def test_unusable_profiles_are_noted_and_ignored(
    damaged: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    picture = load(tagged(GRID, damaged))
    np.testing.assert_array_equal(to_array(picture.pixels), GRID)
    assert any("ignored" in note for note in picture.notes)
    assert "taken as sRGB" in caplog.text


def test_alpha_passes_a_profile_unchanged() -> None:
    array = np.dstack([GRID[:4, :4], np.arange(16, dtype=np.uint8).reshape(4, 4)])
    picture = load(tagged(array, rgb_profile(curve(1.0))))
    assert picture.alpha is not None
    np.testing.assert_array_equal(np.rint(picture.alpha * 255), array[..., 3])


def test_cmyk() -> None:
    image = Image.new("CMYK", (8, 8), (255, 0, 255, 0))
    for source in (image, *(_saved(image, form) for form in ("JPEG", "TIFF"))):
        picture = load(source)
        np.testing.assert_allclose(to_array(picture.pixels)[4, 4], (0, 255, 0), atol=2)
        assert picture.kind.mode == "CMYK"
        assert any("CMYK" in note for note in picture.notes)


def test_cmyk_with_a_wrong_profile() -> None:
    picture = load(_saved(Image.new("CMYK", (8, 8)), "TIFF", icc_profile=rgb_profile(curve(1.0))))
    assert to_array(picture.pixels)[0, 0].tolist() == [255, 255, 255]
    assert any("RGB profile was ignored" in note for note in picture.notes)


def _saved(image: Image.Image, form: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, form, **options)
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("form", "bit_depth"),
    [("PNG", 8), ("PNG", 16), ("TIFF", 8), ("TIFF", 16), ("JPEG", 8), ("WEBP", 8)],
)
def test_what_is_written_carries_srgb(form: Any, bit_depth: int) -> None:
    data = encode(np.full((3, 4, 4), 0.5, np.float32), form, bit_depth=bit_depth)
    assert Image.open(io.BytesIO(data)).info["icc_profile"] == srgb_profile()
