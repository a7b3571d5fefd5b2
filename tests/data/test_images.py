"""The reader of photographs gives OpenCV's pixels, and refuses what cannot be trusted."""

from __future__ import annotations

import io
import random
import struct
import unicodedata
import zlib

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from icd.data.images import image_path, read_image, read_image_size
from icd.errors import InputError


@pytest.fixture
def photograph(golden):
    return golden / "icd" / "superpixel_raw" / "chelsea.jpg"


def _as_opencv(path):
    return cv2.imread(str(path), cv2.IMREAD_COLOR)[..., ::-1]


@pytest.mark.parametrize("name", ["chelsea", "rocket", "retina"])
def test_pixels_are_those_of_opencv(golden, name):
    path = golden / "icd" / "superpixel_raw" / f"{name}.jpg"
    image = read_image(path)
    assert image.dtype == np.uint8
    np.testing.assert_array_equal(image, _as_opencv(path))
    assert read_image_size(path) == image.shape[:2]


def test_real_photographs_are_those_of_opencv(shared):
    for path in sorted((shared / "data" / "voc-animals" / "JPEGImages").iterdir())[:100]:
        np.testing.assert_array_equal(read_image(path), _as_opencv(path))


def test_gray_becomes_three_channels(photograph, tmp_path):
    path = tmp_path / "gray.jpg"
    Image.open(photograph).convert("L").save(path)
    image = read_image(path)
    assert image.shape == (332, 500, 3)
    np.testing.assert_array_equal(image, _as_opencv(path))


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_applied_as_in_opencv(photograph, tmp_path, orientation):
    path = tmp_path / "turned.jpg"
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.open(photograph).save(path, exif=exif)
    np.testing.assert_array_equal(read_image(path), _as_opencv(path))
    assert read_image_size(path) == read_image(path).shape[:2]
    assert (read_image_size(path) == (500, 332)) == (orientation >= 5)


@pytest.mark.parametrize("share", [0.001, 0.1, 0.5, 0.9, 0.999])
def test_truncated_file_is_refused(photograph, tmp_path, share):
    content = photograph.read_bytes()
    path = tmp_path / "cut.jpg"
    path.write_bytes(content[: int(len(content) * share)])
    with pytest.raises(InputError, match="cut.jpg: expected an 8-bit RGB"):
        read_image(path)
    with pytest.raises(InputError):
        read_image_size(path)


def test_file_that_ends_in_zeros_is_refused(photograph, tmp_path):
    content = photograph.read_bytes()
    path = tmp_path / "zeros.jpg"
    path.write_bytes(content[: len(content) // 2] + bytes(len(content) // 2))
    with pytest.raises(InputError, match="truncated"):
        read_image(path)


def test_bytes_after_the_end_are_allowed(photograph, tmp_path):
    path = tmp_path / "tail.jpg"
    path.write_bytes(photograph.read_bytes() + bytes(100))
    np.testing.assert_array_equal(read_image(path), read_image(photograph))


def test_damage_that_only_decoding_shows_is_refused(photograph, tmp_path):
    path = tmp_path / "tables.jpg"
    path.write_bytes(
        photograph.read_bytes().replace(b"\xff\xdb", b"\xff\xe5")
    )  # quantization tables made unknown
    assert read_image_size(path) == (332, 500)
    with pytest.raises(InputError, match="tables.jpg: .*damaged"):
        read_image(path)


def _save_cmyk(path):
    Image.new("CMYK", (8, 8), (10, 20, 30, 40)).save(path, "JPEG")


def _save_deep_gray(path):
    Image.fromarray(np.full((8, 8), 40000, np.uint16)).save(path, "PNG")


def _save_deep_colour(path):
    _, content = cv2.imencode(".png", np.full((8, 8, 3), 40000, np.uint16))
    path.write_bytes(content.tobytes())


def _save_palette(path):
    Image.new("P", (8, 8), 3).save(path, "PNG")


def _save_transparent(path):
    Image.new("RGBA", (8, 8)).save(path, "PNG")


def _save_gif(path):
    Image.new("L", (8, 8)).save(path, "GIF")


@pytest.mark.parametrize(
    "save, found",
    [
        (_save_cmyk, "mode CMYK"),
        (_save_deep_gray, "16 bits"),
        (_save_deep_colour, "16 bits"),
        (_save_palette, "mode P"),
        (_save_transparent, "mode RGBA"),
        (_save_gif, "GIF"),
        (lambda path: path.write_text("not a picture"), "no known image format"),
        (lambda path: path.write_bytes(b""), "an empty file"),
        (lambda path: None, "nothing there"),
        (lambda path: path.mkdir(), "a folder"),
    ],
)
def test_other_content_is_refused(tmp_path, save, found):
    path = tmp_path / "strange.jpg"
    save(path)
    for read in (read_image, read_image_size):
        with pytest.raises(InputError, match=f"strange.jpg: expected .*found .*{found}"):
            read(path)


def test_huge_header_is_refused(tmp_path):
    path = tmp_path / "bomb.jpg"
    Image.new("L", (8, 8)).save(path, "JPEG")
    content = bytearray(path.read_bytes())
    start = content.index(b"\xff\xc0")  # the frame header: length, precision, height, width
    content[start + 5 : start + 9] = b"\xff\xff\xff\xff"
    path.write_bytes(content)
    with pytest.raises(InputError, match="bomb.jpg"):
        read_image(path)


def _exif(*fields, order="<", tail=b""):
    """EXIF of fields (tag, type, count, four bytes)."""
    head = {"<": b"II", ">": b"MM"}[order] + struct.pack(f"{order}HIH", 42, 8, len(fields))
    entries = [struct.pack(f"{order}HHI", *field[:3]) + field[3] for field in fields]
    return head + b"".join(entries) + bytes(4) + tail


def _with_app1(content, block):
    return content[:2] + b"\xff\xe1" + struct.pack(">H", len(block) + 2) + block + content[2:]


def _small_jpeg(size=(48, 32)):
    buffer = io.BytesIO()
    noise = np.random.RandomState(0).randint(0, 256, (size[1], size[0], 3)).astype(np.uint8)
    Image.fromarray(noise).save(buffer, "JPEG")
    return buffer.getvalue()


def _same_as_opencv(path):
    np.testing.assert_array_equal(read_image(path), _as_opencv(path))
    assert read_image_size(path) == _as_opencv(path).shape[:2]


@settings(max_examples=300, deadline=None)
@given(
    value=st.integers(0, 11),
    kind=st.integers(0, 12),
    count=st.integers(0, 300),
    order=st.sampled_from("<>"),
    number=st.sampled_from([0x112, 0x100]),
    other=st.sampled_from([b"", b"http://ns.adobe.com/xap/1.0/\0<x:xmpmeta tiff:Orientation='6'/>", b"abc"]),
    first=st.booleans(),
)
def test_orientation_is_opencvs(tmp_path_factory, value, kind, count, order, number, other, first):
    """Numbers that are none, types that are others (BYTE, ASCII), XMP beside or alone: one rule, OpenCV's."""
    value = struct.pack(f"{order}HH", value, 0)
    fields = [(number, kind, count, value), (0x112, 3, 1, struct.pack(f"{order}HH", 8, 0))]
    blocks = [b"Exif\0\0" + _exif(*fields, order=order)] + ([other] if other else [])
    content = _small_jpeg()
    for block in blocks if first else blocks[::-1]:
        content = _with_app1(content, block)
    path = tmp_path_factory.mktemp("exif") / "a.jpg"
    path.write_bytes(content)
    _same_as_opencv(path)


@pytest.mark.parametrize("orientation", range(11))
def test_orientation_of_a_png_is_opencvs(tmp_path, orientation):
    buffer, path = io.BytesIO(), tmp_path / "a.png"
    Image.open(io.BytesIO(_small_jpeg())).save(buffer, "PNG")
    chunk = b"eXIf" + _exif((0x112, 3, 1, struct.pack("<HH", orientation, 0)))
    chunk = struct.pack(">I", len(chunk) - 4) + chunk + struct.pack(">I", zlib.crc32(chunk))
    path.write_bytes(buffer.getvalue()[:33] + chunk + buffer.getvalue()[33:])
    _same_as_opencv(path)


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=200))
def test_metadata_never_stop_a_photograph(tmp_path_factory, block):
    path = tmp_path_factory.mktemp("metadata") / "a.jpg"
    path.write_bytes(_with_app1(_small_jpeg(), b"Exif\0\0II*\0\x08\0\0\0" + block))
    assert sorted(read_image(path).shape) == [3, 32, 48]
    assert read_image(path).shape[:2] == read_image_size(path)


def test_a_resolution_of_minus_one_over_zero(tmp_path):
    fields = (0x112, 3, 1, struct.pack("<HH", 6, 0)), (0x11A, 10, 1, struct.pack("<I", 38))
    block = b"Exif\0\0" + _exif(*fields, tail=b"\xff\xff\xff\xff\0\0\0\0")
    (tmp_path / "a.jpg").write_bytes(_with_app1(_small_jpeg(), block))
    _same_as_opencv(tmp_path / "a.jpg")
    assert read_image_size(tmp_path / "a.jpg") == (48, 32)


@pytest.mark.parametrize("seed", range(20))
def test_what_follows_the_end_is_left_aside(tmp_path, seed):
    """A motion photo: a film behind the photograph, with all the markers that chance puts there."""
    tail = random.Random(seed).getrandbits(800_000).to_bytes(100_000, "little")
    (tmp_path / "a.jpg").write_bytes(_small_jpeg() + tail)
    _same_as_opencv(tmp_path / "a.jpg")


def test_a_cut_photograph_with_a_thumbnail_is_refused(tmp_path):
    """The thumbnail in its EXIF has an end of its own."""
    content = _with_app1(_small_jpeg(), b"Exif\0\0" + _exif() + _small_jpeg((16, 16)))
    (tmp_path / "a.jpg").write_bytes(content)
    assert read_image_size(tmp_path / "a.jpg") == (32, 48)
    (tmp_path / "a.jpg").write_bytes(content[: 3 * len(content) // 4])
    with pytest.raises(InputError, match="truncated"):
        read_image_size(tmp_path / "a.jpg")


@pytest.mark.parametrize("suffix", ["jpg", "JPG", "jpeg", "JPEG", "png", "PNG"])
def test_suffixes_of_cameras_are_found(tmp_path, suffix):
    (tmp_path / "._a.jpg").write_bytes(b"a Mac's notes")
    path = tmp_path / f"a.{suffix}"
    Image.open(io.BytesIO(_small_jpeg())).save(path)
    assert image_path(tmp_path, "a") == path
    assert read_image(image_path(tmp_path, "a")).shape == (32, 48, 3)


def test_letters_with_accents_are_found_in_either_form(tmp_path):
    for stored, asked in (("NFD", "NFC"), ("NFC", "NFD")):
        path = tmp_path / f"{unicodedata.normalize(stored, 'hünd')}.jpg"
        path.write_bytes(_small_jpeg())
        assert image_path(tmp_path, unicodedata.normalize(asked, "hünd")) == path
        path.unlink()


def test_a_near_name_is_named(tmp_path):
    for name in ("A.JPG", "b.webp", "._c.jpg"):
        (tmp_path / name).touch()
    for image_id, found in (
        ("a", "but A.JPG beside it"),
        ("b", "but b.webp beside it"),
        ("c", "found nothing there. Check"),
    ):
        with pytest.raises(InputError, match=found):
            read_image(image_path(tmp_path, image_id))


def test_a_camera_of_200_megapixels_is_read(tmp_path):
    Image.new("L", (16000, 12500)).save(tmp_path / "a.jpg", "JPEG", quality=10)
    assert read_image_size(tmp_path / "a.jpg") == (12500, 16000)
    Image.new("L", (17000, 16000)).save(tmp_path / "b.jpg", "JPEG", quality=10)
    with pytest.raises(InputError, match=r"at most 268 megapixels; found 16000 x 17000 .*Scale it down"):
        read_image_size(tmp_path / "b.jpg")


@settings(max_examples=300, deadline=None)
@given(data=st.data())
def test_damage_anywhere_gives_an_error_or_pixels(tmp_path_factory, data):
    content = bytearray(_small_jpeg((24, 16)))
    for _ in range(data.draw(st.integers(0, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    path = tmp_path_factory.mktemp("damage") / "a.jpg"
    path.write_bytes(bytes(content[: data.draw(st.integers(0, len(content)))]))
    for read, result in ((read_image, lambda image: image.shape[:2]), (read_image_size, tuple)):
        try:
            height, width = result(read(path))
        except InputError:
            continue
        assert height * width <= 2**28
