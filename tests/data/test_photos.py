"""Image files: sizes from headers, and the one line that says what is wrong with a file."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from archsearch.data.photos import image_size, read_image
from archsearch.files import InputError

IMAGE = np.random.default_rng(0).integers(0, 256, (37, 53, 3)).astype(np.uint8)


@pytest.mark.parametrize("name", ["a.jpg", "a.png", "a.bmp", "a.webp", "a.tiff"])
def test_the_size_is_that_of_the_pixels(tmp_path: Path, name: str) -> None:
    cv2.imwrite(str(tmp_path / name), IMAGE)
    assert image_size(tmp_path / name) == (37, 53) == read_image(tmp_path / name).shape[:2]


@pytest.mark.parametrize(
    "flags",
    [
        [cv2.IMWRITE_JPEG_PROGRESSIVE, 1],
        [cv2.IMWRITE_JPEG_OPTIMIZE, 1],
        [cv2.IMWRITE_JPEG_RST_INTERVAL, 2],
    ],
)
def test_kinds_of_jpeg(tmp_path: Path, flags: list[int]) -> None:
    path = tmp_path / "a.jpg"
    cv2.imwrite(str(path), IMAGE, flags)
    assert image_size(path) == (37, 53)


def test_what_stands_before_and_after_the_picture(tmp_path: Path) -> None:
    """Other software's segments (a thumbnail has a frame header of its own), fill bytes, and what follows the end."""
    path = tmp_path / "a.jpg"
    data = cv2.imencode(".jpg", IMAGE)[1].tobytes()
    thumbnail = cv2.imencode(".jpg", IMAGE[:5, :7])[1].tobytes()
    segment = b"\xff\xe1" + (len(thumbnail) + 2).to_bytes(2, "big") + thumbnail
    path.write_bytes(data[:2] + segment + b"\xff\xff" + data[2:] + b"\0" * 10_000)
    assert image_size(path) == (37, 53)


def test_orientation_is_left_alone(tmp_path: Path) -> None:
    """Annotations are made on pixels as they lie, whatever EXIF says."""
    path = tmp_path / "a.jpg"
    data = cv2.imencode(".jpg", IMAGE)[1].tobytes()
    exif = b"Exif\0\0MM\0\x2a\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x06\0\0\0\0\0\0"
    path.write_bytes(data[:2] + b"\xff\xe1" + (len(exif) + 2).to_bytes(2, "big") + exif + data[2:])
    assert image_size(path) == (37, 53) == read_image(path).shape[:2]
    assert read_image(path, upright=True).shape[:2] == (53, 37)


def test_damaged_files(tmp_path: Path) -> None:
    for name in ("a.jpg", "a.png"):
        cv2.imwrite(str(tmp_path / name), IMAGE)
        whole = (tmp_path / name).read_bytes()
        (tmp_path / name).write_bytes(whole[:-30])
        with pytest.raises(InputError, match=f"{name}: a .* that is cut short"):
            image_size(tmp_path / name)
        (tmp_path / name).write_bytes(whole[:15])
        with pytest.raises(InputError, match=name):
            image_size(tmp_path / name)
    for path, words in (("none.jpg", "no such file"), (".", "cannot be read"), ("a\0b", "no such file")):
        for function in (image_size, read_image):
            with pytest.raises(InputError, match=words) as caught:
                function(f"{tmp_path}/{path}")
            assert "\n" not in str(caught.value)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data(), suffix=st.sampled_from([".jpg", ".png"]))
def test_broken_headers_never_give_another_size(tmp_path: Path, data: st.DataObject, suffix: str) -> None:
    """Bytes changed near the head: what has a size is decoded to that size, or not at all."""
    content = bytearray(cv2.imencode(suffix, IMAGE)[1].tobytes())
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, min(300, len(content) - 1)))] = data.draw(st.integers(0, 255))
    path = tmp_path / f"odd{suffix}"
    path.write_bytes(content)
    try:
        size = image_size(path)
    except InputError:
        with pytest.raises(InputError):
            read_image(path)
        return
    if size[0] * size[1] > 1_000_000:  # decoding would take gigabytes
        return
    try:
        decoded = read_image(path).shape[:2]
    except InputError:
        return
    assert size == decoded
