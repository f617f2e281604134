"""Image files: their pixels, and their size without decoding them.

Shapes: H, W image size in pixels.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import cv2
import numpy as np
from numpy.typing import NDArray

from archsearch.data.dataset import ImageInfo
from archsearch.files import InputError

_JPEG, _JPEG_END = b"\xff\xd8", b"\xff\xd9"
_PNG, _PNG_END = b"\x89PNG\r\n\x1a\n", b"IEND\xaeB\x60\x82"
_TAIL_BYTES = 4096  # of a file in which its end mark is looked for first; what follows the mark is other software's


def read_image(path: Path | str, *, upright: bool = False) -> NDArray[np.uint8]:
    """The pixels of an image file as uint8 RGB (H, W, 3).

    ``upright`` turns them as the EXIF orientation says, as viewers do; annotations are made on pixels as they lie.

    Raises ``InputError`` where the file is missing, cut short or no image.
    """
    try:
        data = Path(path).read_bytes()
    except OSError as error:
        raise _unreadable(path, error) from None
    except ValueError:  # a name that no file can have
        raise _unreadable(path, None) from None
    if data.startswith(_JPEG) and data.rfind(_JPEG_END) < 0:  # OpenCV 4 would fill the rest with grey
        raise InputError(f"{one_line(path)}: a JPEG that is cut short ({len(data)} bytes)")
    try:
        flags = cv2.IMREAD_COLOR | (0 if upright else cv2.IMREAD_IGNORE_ORIENTATION)
        bgr = cv2.imdecode(np.frombuffer(data, np.uint8), flags)
    except cv2.error:
        bgr = None
    if bgr is None:
        raise InputError(f"{one_line(path)}: not an image that can be decoded ({len(data)} bytes)")
    return np.asarray(cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB), np.uint8)


@dataclass(frozen=True)
class PhotoReader:
    """Reads the images of a data set from a folder; ``source`` is the file that describes them."""

    folder: Path
    images: Sequence[ImageInfo]
    source: str

    def __call__(self, index: int) -> NDArray[np.uint8]:
        """Image ``index`` (H, W, 3). Raises ``InputError`` where it cannot be read or has another size than said."""
        info = self.images[index]
        image = read_image(self.folder / info.file)
        if image.shape[:2] != (info.height, info.width):
            raise InputError(
                f"{one_line(self.folder / info.file)}: {image.shape[1]} x {image.shape[0]} pixels; "
                f"image id {info.id} of {self.source} says {info.width} x {info.height}"
            )
        return image


def image_size(path: Path | str) -> tuple[int, int]:
    """(height, width) in pixels of an image file, as :func:`read_image` would give it.

    Of a JPEG or PNG only the header and the end are read, in some 50 microseconds; other files are decoded.
    Raises ``InputError`` where the file is missing, is cut short at its end or is no image.
    """
    try:
        with open(path, "rb") as file:
            size, end = _header(file)
            whole = end is None or _contains(file, end)
    except OSError as error:
        raise _unreadable(path, error) from None
    except ValueError:
        raise _unreadable(path, None) from None
    if size is None or min(size) < 1:
        height, width, _ = read_image(path).shape
        return height, width
    if not whole:
        kind = "JPEG" if end == _JPEG_END else "PNG"
        raise InputError(f"{one_line(path)}: a {kind} that is cut short ({Path(path).stat().st_size} bytes)")
    return size


def one_line(path: Path | str) -> str:
    """A file's name for an error message: what cannot be printed is escaped."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in str(path))


def _unreadable(path: Path | str, error: OSError | None) -> InputError:
    if error is None or isinstance(error, FileNotFoundError):
        return InputError(f"{one_line(path)}: no such file")
    return InputError(f"{one_line(path)}: cannot be read: {error.strerror}")


def _header(file: BinaryIO) -> tuple[tuple[int, int] | None, bytes | None]:
    """(height, width), None where the format is another one or damaged; and the mark that the file must end with."""
    start = file.read(24)
    if start.startswith(_JPEG):
        file.seek(2)
        return _jpeg_size(file), _JPEG_END
    if start.startswith(_PNG) and start[12:16] == b"IHDR":
        return (int.from_bytes(start[20:24], "big"), int.from_bytes(start[16:20], "big")), _PNG_END
    return None, None


def _jpeg_size(file: BinaryIO) -> tuple[int, int] | None:
    """From the first frame header (ITU T.81, B.2.2); None where there is none."""
    while True:
        lead, marker = file.read(1), file.read(1)
        while marker == b"\xff":  # fill bytes
            marker = file.read(1)
        if lead != b"\xff" or not marker:
            return None
        code = marker[0]
        if code == 0x01 or 0xD0 <= code <= 0xD7:  # markers without a segment
            continue
        length = int.from_bytes(file.read(2), "big")
        if code in (0xD9, 0xDA) or length < 2:
            return None
        if 0xC0 <= code <= 0xCF and code not in (0xC4, 0xC8, 0xCC):
            frame = file.read(5)
            return (int.from_bytes(frame[1:3], "big"), int.from_bytes(frame[3:5], "big")) if len(frame) == 5 else None
        file.seek(length - 2, 1)


def _contains(file: BinaryIO, mark: bytes) -> bool:
    length = file.seek(0, 2)
    file.seek(max(0, length - _TAIL_BYTES))
    if mark in file.read():
        return True
    file.seek(0)
    return mark in file.read()
