"""Masks come as they are stored, whatever their bits and palette; what is no mask is refused."""

from __future__ import annotations

import io
import struct
import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from icd.classes import voc_palette
from icd.errors import InputError
from icd.files import (
    contradictions,
    encode_mask,
    read_class_mask,
    read_mask,
    read_mask_and_palette,
    read_saliency,
    read_superpixels,
    write_mask,
)

VALUES = np.arange(32, dtype=np.uint8).reshape(4, 8)


def _png(values, bits, palette=None):
    """A PNG of `bits` a pixel, written here: Pillow writes none of 2 and 4 gray bits."""

    def chunk(kind, content):
        return (
            struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))
        )

    height, width = values.shape
    rows = [
        b"\0" + np.packbits(np.unpackbits(row[:, None], axis=1)[:, 8 - bits :].ravel()).tobytes()
        for row in values
    ]
    header = struct.pack(">IIBBBBB", width, height, bits, 0 if palette is None else 3, 0, 0, 0)
    colours = b"" if palette is None else chunk(b"PLTE", palette.tobytes())
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + colours
        + chunk(b"IDAT", zlib.compress(b"".join(rows)))
        + chunk(b"IEND", b"")
    )


@pytest.mark.parametrize("coloured", [False, True])
@pytest.mark.parametrize("bits", [1, 2, 4, 8])
def test_every_depth_gives_the_stored_values(tmp_path, bits, coloured):
    values = VALUES & (2**bits - 1)
    (tmp_path / "a.png").write_bytes(_png(values, bits, voc_palette()[: 2**bits] if coloured else None))
    np.testing.assert_array_equal(read_mask(tmp_path / "a.png"), values)
    np.testing.assert_array_equal(read_class_mask(tmp_path / "a.png", 31, (4, 8)), values)


@pytest.mark.parametrize("bits", [1, 2, 4, 8])
def test_saliency_is_brightness(tmp_path, bits):
    values = VALUES & (2**bits - 1)
    (tmp_path / "a.png").write_bytes(_png(values, bits))
    np.testing.assert_array_equal(read_saliency(tmp_path / "a.png"), values * (255 // (2**bits - 1)))
    gray = np.repeat(np.arange(0, 256, 255 // (2**bits - 1), dtype=np.uint8)[:, None], 3, 1)
    (tmp_path / "b.png").write_bytes(_png(values, bits, gray))
    np.testing.assert_array_equal(read_saliency(tmp_path / "b.png"), values * (255 // (2**bits - 1)))
    write_mask(tmp_path / "c.png", values)
    with pytest.raises(InputError, match="a palette of colours"):
        read_saliency(tmp_path / "c.png")


def test_truth_and_false_are_1_and_0(tmp_path):
    Image.fromarray(VALUES % 2 > 0).save(tmp_path / "a.png")
    np.testing.assert_array_equal(read_mask(tmp_path / "a.png"), VALUES % 2)


@pytest.mark.parametrize(
    ("mode", "format", "found"),
    [
        ("RGB", "PNG", "mode RGB"), ("RGBA", "PNG", "mode RGBA"), ("LA", "PNG", "mode LA"), ("I;16", "PNG", "mode I;16"),
        ("L", "JPEG", "a JPEG file.*losses"), ("L", "WEBP", "a WEBP file.*losses"),
    ],
)  # fmt: skip
def test_what_holds_no_class_numbers_is_refused(tmp_path, mode, format, found):
    Image.new(mode, (8, 4)).save(tmp_path / "a.png", format)
    with pytest.raises(InputError, match=rf"a\.png: expected a mask .*{found}"):
        read_mask(tmp_path / "a.png")


@pytest.mark.parametrize("format", ["GIF", "BMP", "TIFF"])
def test_other_formats_without_losses_are_read(tmp_path, format):
    Image.fromarray(VALUES).save(tmp_path / "a", format)
    np.testing.assert_array_equal(read_mask(tmp_path / "a"), VALUES)


def test_a_palette_of_other_classes_is_noticed(tmp_path):
    palette = voc_palette()[:4].copy()
    for colours, found in (
        (palette, []),
        (palette[[0, 2, 1, 3]], [(1, 2), (2, 1)]),
        (np.zeros((4, 3), np.uint8), []),
    ):
        (tmp_path / "a.png").write_bytes(_png(VALUES % 4, 2, np.ascontiguousarray(colours)))
        assert contradictions(*read_mask_and_palette(tmp_path / "a.png"), 3) == found
    assert contradictions(VALUES, None, 3) == []


@pytest.mark.parametrize("read", [read_mask, read_saliency, read_superpixels])
def test_a_header_that_claims_more_takes_no_memory(tmp_path, read):
    buffer = io.BytesIO()
    Image.new("RGB" if read is read_superpixels else "L", (8, 4)).save(buffer, "PNG")
    for side, found in ((13500, "a header of 13500 x 13500"), (2**31 - 1, "a header of 2147483647")):
        content = bytearray(buffer.getvalue())
        content[16:24] = struct.pack(">II", side, side)
        content[29:33] = struct.pack(">I", zlib.crc32(bytes(content[12:29])))
        (tmp_path / "a.png").write_bytes(bytes(content))
        with pytest.raises(InputError, match=rf"a\.png: .*{found}"):
            read(tmp_path / "a.png")


def test_the_size_is_looked_at_first(tmp_path):
    (tmp_path / "a.png").write_bytes(encode_mask(VALUES)[:-30])  # the rest is missing
    with pytest.raises(InputError, match="expected 5 x 8 .* found 4 x 8"):
        read_mask(tmp_path / "a.png", (5, 8))


@settings(max_examples=300, deadline=None)
@given(data=st.data(), read=st.sampled_from([read_mask, read_saliency, read_superpixels]))
def test_damage_anywhere_gives_an_error_or_values(tmp_path_factory, data, read):
    content = bytearray(_png(VALUES % 4, 2, voc_palette()[:4]))
    if read is read_superpixels:
        buffer = io.BytesIO()
        Image.new("RGB", (8, 4)).save(buffer, "PNG")
        content = bytearray(buffer.getvalue())
    for _ in range(data.draw(st.integers(0, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    path = tmp_path_factory.mktemp("damage") / "a.png"
    path.write_bytes(bytes(content[: data.draw(st.integers(0, len(content)))]))
    try:
        values = read(path)
    except InputError:
        return
    assert values.ndim == 2 and values.dtype == (np.int32 if read is read_superpixels else np.uint8)


@given(content=st.binary(max_size=100))
def test_any_bytes_are_no_mask(tmp_path_factory, content):
    path = tmp_path_factory.mktemp("any") / "a.png"
    path.write_bytes(content)
    with pytest.raises(InputError):
        read_mask(path)
