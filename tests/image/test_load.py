"""What can be loaded, what it becomes, and what is refused."""

from __future__ import annotations

import hashlib
import io
import os
import pathlib
import struct
import threading
import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from PIL import Image

from fastsynth._errors import ImageError
from fastsynth.image import DEFAULT_KIND, Kind, Picture, load, to_array, to_output

SHARED = pathlib.Path(__file__).parents[2].parent / "shared" / "images"


def picture_array(height: int = 6, width: int = 9, channels: int = 3) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (height, width, channels), np.uint8)


def encoded(image: Image.Image, form: str = "PNG", **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, form, **options)
    return buffer.getvalue()


def test_every_container_gives_the_same_pixels(tmp_path: pathlib.Path) -> None:
    array = picture_array()
    data = encoded(Image.fromarray(array))
    path = tmp_path / "picture.png"
    path.write_bytes(data)
    expected = array.transpose(2, 0, 1) / np.float32(255)
    sources = {
        "path": [path, str(path)],
        "bytes": [data, bytearray(data), memoryview(data)],
        "file": [io.BytesIO(data)],
        "PIL": [Image.open(path), Image.fromarray(array)],
        "ndarray": [array, array[::-1][::-1], np.asfortranarray(array)],
    }
    for container, many in sources.items():
        for source in many:
            picture = load(source)
            np.testing.assert_array_equal(picture.pixels, expected)
            assert picture.kind.container == container
            assert picture.kind.dtype == "uint8"
            assert picture.kind.channels == 3
            assert picture.pixels.dtype == np.float32
            assert picture.pixels.flags.c_contiguous
            assert picture.alpha is None
    digest = hashlib.sha256(data).hexdigest()
    assert load(path).sha256 == load(data).sha256 == digest
    assert load(path).source == path
    assert load(data).source is None
    picture = load(path)
    assert load(picture) is picture


def test_an_open_file_is_read_from_where_it_stands(tmp_path: pathlib.Path) -> None:
    data = encoded(Image.fromarray(picture_array()))
    (tmp_path / "f").write_bytes(b"head" + data)
    with (tmp_path / "f").open("rb") as file:
        file.seek(4)
        assert load(file).size == (9, 6)


@given(
    array=st.sampled_from(["uint8", "uint16", "float32", "float64", ">u2", ">f4"]).flatmap(
        lambda dtype: hnp.arrays(
            dtype,
            st.tuples(st.integers(1, 7), st.integers(1, 7)).flatmap(
                lambda hw: st.sampled_from([hw, (*hw, 1), (*hw, 3), (*hw, 4)])
            ),
            elements={"min_value": 0, "max_value": 1} if "f" in dtype else None,
        )
    )
)
@settings(max_examples=150, deadline=None)
def test_arrays_come_back_as_they_went_in(array: np.ndarray) -> None:
    picture = load(array)
    out = to_output(picture.pixels, picture.alpha, picture.kind, grey=None)
    assert out.shape == array.shape
    assert out.dtype == array.dtype.newbyteorder("=")
    grey = array.ndim == 2 or array.shape[2] == 1
    if array.dtype.kind == "u" and not grey:
        np.testing.assert_array_equal(out, array)
    else:  # grey goes through .299 + .587 + .114 in float64; float64 loses its lower half
        top = np.iinfo(array.dtype).max if array.dtype.kind == "u" else 1
        np.testing.assert_allclose(out / top, array.astype(float) / top, atol=6e-8)


def test_grey_goes_out_in_colour_unless_asked() -> None:
    picture = load(np.zeros((4, 5), np.uint8))
    painted = np.random.default_rng(1).random((3, 4, 5), np.float32)
    assert to_output(painted, None, picture.kind).shape == (4, 5, 3)
    assert to_output(painted, None, picture.kind, grey=None).shape == (4, 5)
    assert to_output(painted, None, picture.kind, grey=True).shape == (4, 5)
    assert to_output(painted, None, load(np.zeros((4, 5, 1), np.uint8)).kind, grey=None).shape == (
        4,
        5,
        1,
    )


def test_digest_depends_on_values_dtype_and_shape_only() -> None:
    array = picture_array()
    same = [array, array.copy(order="F"), np.repeat(array, 2, axis=0)[::2]]
    assert len({load(a).sha256 for a in same}) == 1
    wide = array.astype(np.uint16)
    assert load(wide).sha256 == load(wide.astype(">u2")).sha256
    other = [array, wide, array.reshape(9, 6, 3), array ^ 1]
    assert len({load(a).sha256 for a in other}) == 4
    assert load(Image.fromarray(array)).sha256 != load(Image.fromarray(array ^ 1)).sha256


def test_alpha_is_kept_and_not_multiplied_in() -> None:
    array = picture_array(channels=4)
    array[0, 0] = (200, 100, 50, 0)
    for source in (array, Image.fromarray(array), encoded(Image.fromarray(array))):
        picture = load(source)
        np.testing.assert_array_equal(
            picture.pixels, array[..., :3].transpose(2, 0, 1) / np.float32(255)
        )
        assert picture.alpha is not None
        np.testing.assert_array_equal(picture.alpha, array[..., 3] / np.float32(255))


def test_a_picture_is_read_only_and_leaves_its_source_alone() -> None:
    array = np.ones((2, 2, 3), np.float32)
    picture = load(array)
    with pytest.raises(ValueError, match="read-only"):
        picture.pixels[0, 0, 0] = 0
    array[:] = 0
    assert picture.pixels.min() == 1
    planar = np.zeros((3, 2, 2), np.float32)
    Picture.of(planar)
    planar[:] = 1  # still the caller's


def test_picture_names_itself() -> None:
    picture = load(picture_array(channels=4))
    assert repr(picture) == "Picture 9x6 RGBA uint8"
    recoloured = picture.replace(picture.pixels * np.float32(0.5))
    assert (recoloured.sha256, recoloured.kind) == (picture.sha256, picture.kind)
    assert recoloured.pixels.max() <= 0.5
    assert str(DEFAULT_KIND) == "RGB uint8"


@pytest.mark.parametrize(
    ("kind", "depth"),
    [
        (Kind("ndarray", "uint8", 3), 8),
        (Kind("ndarray", "uint16", 3), 16),
        (Kind("ndarray", "float32", 3), 8),
        (Kind("path", "float32", 3, "F", "TIFF"), 16),
    ],
)
def test_bit_depth_follows_what_came_in(kind: Kind, depth: int) -> None:
    assert kind.bit_depth == depth
    assert kind.as_array().container == "ndarray"
    assert kind.as_pil().container == "PIL"


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.zeros((2, 2), bool), r"bool.*uint8"),
        (np.zeros((2, 2), np.int64), r"int64.*uint8 or uint16"),
        (np.zeros((2, 2), np.float16), r"float16.*float32"),
        (np.zeros((2, 2), complex), "complex128"),
        (np.zeros((2, 2), object), "object"),
        (np.zeros(4, np.uint8), r"shape \(4,\)"),
        (np.zeros((2, 2, 2), np.uint8), r"shape \(2, 2, 2\)"),
        (np.zeros((1, 2, 2, 3), np.uint8), r"shape \(1, 2, 2, 3\)"),
        (np.zeros((3, 8, 9), np.uint8), r"transpose\(1, 2, 0\)"),
        (np.zeros((0, 5, 3), np.uint8), "no pixels"),
        (np.zeros((5, 0), np.uint8), "no pixels"),
        (np.full((2, 2), np.nan), "4 of its 4 values are NaN"),
        (np.array([[0.5, np.inf]]), "1 of its 2 values are NaN or infinite"),
        (np.array([[0.0, 255.0]]), r"from 0 to 255.*divide by 255"),
        (np.array([[-0.5, 0.5]]), r"from -0.5 to 0.5.*scale or clip"),
        (np.dstack([np.zeros((2, 2, 3)), np.full((2, 2), 2.0)]), r"alpha run from 2 to 2"),
    ],
)
def test_unusable_arrays_are_refused(array: np.ndarray, message: str) -> None:
    with pytest.raises(ImageError, match=message) as caught:
        load(array, name="style")
    assert str(caught.value).startswith("style: ")


def test_rounding_errors_of_others_are_forgiven() -> None:
    picture = load(np.array([[-1e-7, 1 + 1e-7]]))
    assert picture.pixels.min() == 0
    assert picture.pixels.max() == 1


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "empty"),
        (b"Dear sir or madam", r"begins with b'Dear sir"),
        (b'<svg xmlns="http://www.w3.org/2000/svg"/>', "SVG.*render it to PNG"),
        (b'<?xml version="1.0"?><svg/>', "SVG"),
        (b"<!DOCTYPE html><html>404", "web page"),
        (b"%PDF-1.7", "PDF"),
        (b"8BPS\0\1", "Photoshop"),
        (b"\0\0\0\x18ftypheic\0\0\0\0", "HEIC"),
        (b"version https://git-lfs.github.com/spec/v1", "git lfs pull"),
        (b"\xff\xd8\xff", "JPEG data cannot be decoded"),
        (b"\x89PNG\r\n\x1a\n", "PNG data cannot be decoded"),
        (b"II*\0", "TIFF data cannot be decoded"),
        (b"RIFF\0\0\0\0WEBP", "WEBP data cannot be decoded"),
        (b"P6\n0 5\n255\n", "0 × 5|PPM data cannot be decoded"),
    ],
)
def test_what_is_no_picture_is_named(data: bytes, message: str, tmp_path: pathlib.Path) -> None:
    path = tmp_path / "renamed.jpg"
    path.write_bytes(data)
    for source in (data, path, io.BytesIO(data)):
        with pytest.raises(ImageError, match=message):
            load(source)
    with pytest.raises(ImageError, match=r"^content '.*renamed\.jpg': "):
        load(path, name="content")


def test_paths_that_hold_no_file(tmp_path: pathlib.Path) -> None:
    with pytest.raises(ImageError, match="no such file"):
        load(tmp_path / "missing.png")
    with pytest.raises(ImageError, match="directory"):
        load(tmp_path)
    with pytest.raises(ImageError, match="cannot be opened"):
        load("a\0b.png")
    if os.name == "posix":
        with pytest.raises(ImageError, match="device"):
            load("/dev/zero")


@pytest.mark.parametrize("source", [None, 3, [[0, 1]], {"a": 1}, object()])
def test_other_things_are_refused(source: object) -> None:
    with pytest.raises(ImageError, match=f"it is a {type(source).__name__}; expected a path"):
        load(source)


def test_text_files_are_refused(tmp_path: pathlib.Path) -> None:
    with pytest.raises(ImageError, match="'rb'"):
        load(io.StringIO("text"))
    closed = io.BytesIO()
    closed.close()
    with pytest.raises(ImageError, match="cannot be read"):
        load(closed)


def png_header(width: int, height: int) -> bytes:
    def chunk(name: bytes, body: bytes) -> bytes:
        return (
            struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))
        )

    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", head)
        + chunk(b"IDAT", zlib.compress(b""))
        + chunk(b"IEND", b"")
    )


def test_a_bomb_is_refused_from_its_header() -> None:
    limit = Image.MAX_IMAGE_PIXELS
    with pytest.raises(ImageError, match=r"100000 × 100000 = 10000 megapixels.*max_pixels"):
        load(png_header(100_000, 100_000))
    # Under our limit and over Pillow's: the header passes, the missing data is what fails.
    with pytest.raises(ImageError, match="cannot be decoded"):
        load(png_header(20_000, 10_000))
    with pytest.raises(ImageError, match="limit of 0"):
        load(encoded(Image.new("RGB", (40, 40))), max_pixels=1000)
    with pytest.raises(ImageError, match="limit of 0"):
        load(Image.new("RGB", (40, 40)), max_pixels=1000)
    assert limit == Image.MAX_IMAGE_PIXELS


@pytest.mark.parametrize("form", ["PNG", "TIFF"])
def test_a_picture_beyond_pillows_own_limit_loads(
    form: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = encoded(Image.fromarray(picture_array(40, 50)), form)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 500)
    assert load(data).size == (50, 40)


@pytest.mark.parametrize("shape", [(1, 1), (1, 300), (300, 1)])
def test_thin_pictures_load(shape: tuple[int, int]) -> None:
    assert load(np.zeros((*shape, 3), np.uint8)).pixels.shape == (3, *shape)
    assert load(encoded(Image.new("RGB", shape))).size == shape


def test_loading_is_safe_in_threads() -> None:
    data = encoded(Image.fromarray(picture_array(64, 64)), "JPEG")
    expected = load(data).pixels
    same: list[bool] = []
    threads = [
        threading.Thread(target=lambda: same.append(np.array_equal(load(data).pixels, expected)))
        for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert same == [True] * 8


@pytest.mark.skipif(not SHARED.is_dir(), reason="../shared/images is not there")
def test_real_pictures() -> None:
    bricks = load(SHARED / "texture" / "bricks.png")
    assert bricks.size == (350, 350)
    assert bricks.alpha is not None
    assert bricks.alpha.min() == 0
    dots = load(SHARED / "texture" / "embark_4.png")
    assert any("profile" in note for note in dots.notes)
    tubingen = SHARED / "content" / "tubingen.jpg"
    picture = load(tubingen)
    direct = np.asarray(Image.open(tubingen))
    np.testing.assert_array_equal(to_array(picture.pixels), direct)
