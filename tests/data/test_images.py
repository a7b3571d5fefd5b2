"""The reader of photographs gives OpenCV's pixels, and refuses what cannot be trusted."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from PIL import Image

from icd.data.images import read_image, read_image_size
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
        (lambda path: path.mkdir(), "a file that cannot be read"),
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
