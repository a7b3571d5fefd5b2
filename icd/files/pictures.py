"""Picture files as they are stored. In: a path. Out: the file's pixels, its EXIF orientation and its palette, or an error.

Only what the pixels need is given to the decoder: metadata (EXIF, XMP, colour profiles, texts) is taken out first, since a
damaged field must not stop a picture whose pixels are well. What a header claims is checked before memory is taken for it.
"""

from __future__ import annotations

import io
import re
import struct
import threading
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from icd.errors import InputError, reason_of

MOST_PIXELS = 2**28
"""Of a picture: 268 megapixels. A photograph of this size takes 0.8 GB."""
_PNG, _JPEG = b"\x89PNG\r\n\x1a\n", b"\xff\xd8"
_PNG_PARTS = (b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"IEND")
_MOST_DEFLATED = 1032  # deflate makes at most so many bytes of one
_MARKER = re.compile(rb"\xff+([^\x00\xff\xd0-\xd7])")  # no stuffed byte and no restart marker
_METADATA = (*range(0xE1, 0xEE), 0xEF, 0xFE)  # APP1 to APP13, APP15, comments; APP14 names the colour space
_opening = threading.Lock()


@dataclass(frozen=True)
class Picture:
    """A picture whose header has been read.

    Attributes
    ----------
    image : PIL.Image.Image
        Not decoded yet; as stored, not turned.
    format : str
        PNG, JPEG, or another name of Pillow's.
    bits : int
        A channel, as stored.
    orientation : int
        EXIF's, 1 to 8; 1 where there is none.
    complete : bool
        False where a JPEG's end is missing.
    """

    image: Image.Image
    format: str
    bits: int
    orientation: int = 1
    complete: bool = True

    @property
    def size(self) -> tuple:
        """Height and width as stored."""
        return self.image.size[::-1]


def open_picture(
    path, wanted: str, missing: str = "", damaged: str = "Restore it from its source."
) -> Picture:
    """Read a picture's file and its header.

    Parameters
    ----------
    wanted : str
        What is expected there, for the message.
    missing, damaged : str
        What to do where the file is not there, or is not what it should be.

    Raises
    ------
    InputError
        The file is missing, empty, no picture, or claims more pixels than `MOST_PIXELS` or than it can hold.
    """
    content = _read_bytes(path, wanted, missing, damaged)
    bits, orientation, complete = 8, 1, True
    if content.startswith(_PNG):
        content, bits, orientation = _bare_png(content, path, wanted, damaged)
    elif content.startswith(_JPEG):
        content, orientation, complete = _bare_jpeg(content)
    try:
        with _opening:  # Pillow's limit is one for the whole process, and ours is another
            limit, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
            try:
                image = Image.open(io.BytesIO(content))
            finally:
                Image.MAX_IMAGE_PIXELS = limit
    except Exception as error:  # its readers of some forty formats raise what they like
        raise damaged_picture(path, wanted, error, damaged) from None
    width, height = image.size
    if width * height > MOST_PIXELS:
        found = f"{height} x {width} pixels (height x width), {width * height / 1e6:.0f} megapixels"
        expected = f"{wanted} of at most {MOST_PIXELS / 1e6:.0f} megapixels"
        raise InputError(path, expected, found, "Scale it down, or leave it out of the list.")
    return Picture(image, image.format or "", bits, orientation, complete)


def damaged_picture(path, wanted: str, error: Exception, remedy: str = "") -> InputError:
    """The error for a picture that cannot be decoded."""
    if isinstance(error, MemoryError):
        return InputError(path, wanted, "more pixels than the memory holds", "Scale it down.")
    reason = (
        "no known image format" if "cannot identify" in str(error) else str(error) or type(error).__name__
    )
    return InputError(path, wanted, f"a damaged or other file ({reason})", remedy)


def _read_bytes(path, wanted, missing, damaged) -> bytes:
    try:
        content = Path(path).read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        near = near_match(path)
        raise InputError(path, wanted, f"nothing there{near}", missing) from None
    except OSError as error:
        raise InputError(path, wanted, reason_of(error)) from None
    except ValueError as error:  # a zero byte in the name
        raise InputError(path, wanted, f"no name of a file ({error})") from None
    if not content:
        raise InputError(path, wanted, "an empty file", damaged)
    return content


def near_match(path) -> str:
    """A clause about a file beside `path` whose name differs in suffix, case, or Unicode form; empty where there is none."""
    from icd.files.near import near_names  # here: difflib and a folder's listing are for errors alone

    names = near_names(path)
    return f", but {' and '.join(names)} beside it" if names else ""


# PNG


def _bare_png(content: bytes, path, wanted, damaged) -> tuple:
    """A PNG without its metadata, its bits a channel, and its orientation."""
    parts, place, bits, orientation, stored = [_PNG], len(_PNG), 8, 1, 0
    while place + 8 <= len(content):
        (length,) = struct.unpack_from(">I", content, place)
        kind, start = content[place + 4 : place + 8], place + 8
        if kind in _PNG_PARTS:
            parts.append(content[place : start + length + 4])
            stored += length if kind == b"IDAT" else 0
        elif kind == b"eXIf":
            orientation = exif_orientation(content[start : start + length])
        place = start + length + 4
        if kind == b"IEND":
            break
    head = content[8:33]
    if len(head) == 25 and head[4:8] == b"IHDR":
        width, height, bits, colour = struct.unpack(">IIBB", head[8:18])
        channels = {2: 3, 4: 2, 6: 4}.get(colour, 1)
        needed = height * (width * channels * bits + 7) // 8
        if needed > _MOST_DEFLATED * (stored + 64):
            found = f"a header of {height} x {width} pixels on {len(content)} bytes"
            raise InputError(path, wanted, found, damaged)
    return b"".join(parts), bits, orientation


# JPEG


def _bare_jpeg(content: bytes) -> tuple:
    """A JPEG without its metadata and without what follows its end, its orientation, and whether its end is there."""
    parts, place, orientation = [_JPEG], 2, None
    while True:
        match = _MARKER.search(content, place)
        if match is None:
            return b"".join([*parts, content[place:]]), orientation or 1, False
        marker, start = match[1][0], match.end()
        parts.append(content[place : match.start()])
        if marker == 0xD9:
            return b"".join([*parts, b"\xff\xd9"]), orientation or 1, True
        if marker in (0x01, 0xD8):  # markers without content
            end = start
        else:
            length = int.from_bytes(content[start : start + 2], "big")
            end = start + max(length, 2)
            if end > len(content):
                return b"".join([*parts, content[match.start() :]]), orientation or 1, False
        if marker == 0xE1 and orientation is None:  # OpenCV looks into the first block alone, whatever it is
            orientation = exif_orientation(content[start + 8 : end])
        if marker not in _METADATA:
            parts.append(b"\xff" + content[match.start(1) : end])
        place = end


def exif_orientation(exif: bytes) -> int:
    """EXIF's orientation, 1 to 8, as OpenCV reads it; 1 where there is none or another number.

    The first entry counts, whatever its type says. Damage in other fields, at which OpenCV gives up, does not matter.

    Parameters
    ----------
    exif : bytes
        From the byte order on (`II*\\0` or `MM\\0*`).
    """
    order = {b"II": "<", b"MM": ">"}.get(exif[:2])
    found = 1
    try:
        if order is None or struct.unpack_from(f"{order}H", exif, 2) != (0x2A,):
            return 1
        (offset,) = struct.unpack_from(f"{order}I", exif, 4)
        (count,) = struct.unpack_from(f"{order}H", exif, offset)
        for number in range(count):
            tag, _, _, value = struct.unpack_from(f"{order}HHIH", exif, offset + 2 + 12 * number)
            if tag == 0x112:
                found = value
                break
    except struct.error:
        pass
    return found if 1 <= found <= 8 else 1
