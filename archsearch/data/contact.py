"""Contact sheets: many images of a data set in one, with or without what is annotated in them."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from archsearch.data.dataset import Dataset, ImageInfo
from archsearch.files import InputError, replacing
from archsearch.skeleton import Skeleton

Image = NDArray[np.uint8]

_LEFT, _RIGHT, _MIDDLE = (64, 160, 255), (255, 128, 48), (250, 250, 250)


def annotated(image: Image, info: ImageInfo, skeleton: Skeleton, zoom: int = 1) -> Image:
    """A copy of an RGB image, ``zoom`` times as large, with boxes and skeletons drawn.

    Left is blue, right orange; joints that can be seen are filled, covered ones are rings.
    """
    out = cv2.resize(image, None, fx=zoom, fy=zoom, interpolation=cv2.INTER_LINEAR)
    thick = max(1, round(out.shape[0] / 250))

    def colour(*joints: int) -> tuple[int, int, int]:
        names = [skeleton.joints[j] for j in joints]
        if all(name.startswith("left_") for name in names):
            return _LEFT
        return _RIGHT if all(name.startswith("right_") for name in names) else _MIDDLE

    for joints_J3, box in zip(info.joints_PJ3, info.boxes_P4.tolist(), strict=True):
        x, y, w, h = (round(side * zoom) for side in box)
        cv2.rectangle(out, (x, y), (x + w, y + h), (230, 230, 230), max(1, thick // 2))
        at = [(round((x + 0.5) * zoom - 0.5), round((y + 0.5) * zoom - 0.5)) for x, y in joints_J3[:, :2].tolist()]
        for a, b in skeleton.limbs:
            if joints_J3[a, 2] and joints_J3[b, 2]:
                cv2.line(out, at[a], at[b], colour(a, b), thick, cv2.LINE_AA)
        for j, seen in enumerate(joints_J3[:, 2].tolist()):
            if seen:
                cv2.circle(out, at[j], 2 * thick, colour(j), -1 if seen == 2 else max(1, thick // 2), cv2.LINE_AA)
    return np.asarray(out, dtype=np.uint8)


def contact_sheet(dataset: Dataset, columns: int, rows: int, *, annotate: bool, cell_px: int | None = None) -> Image:
    """The first ``columns * rows`` images as one RGB image (rows * cell, columns * cell, 3).

    Cells are ``cell_px`` wide, by default as the first image is; what is not square is padded. Cells without an image
    are black. Raises ``ValueError`` where there is no cell.
    """
    if columns < 1 or rows < 1:
        raise ValueError(f"a contact sheet of {columns} columns and {rows} rows has no cell")
    cell = cell_px or dataset.images[0].width
    sheet = np.zeros((rows * cell, columns * cell, 3), np.uint8)
    for i, info in enumerate(dataset.images[: columns * rows]):
        image = dataset.read(i)
        if annotate:
            image = annotated(image, info, dataset.skeleton, zoom=max(1, -(-2 * cell // max(info.height, info.width))))
        scale = cell / max(image.shape[:2])
        width, height = max(1, round(image.shape[1] * scale)), max(1, round(image.shape[0] * scale))
        if (width, height) != (image.shape[1], image.shape[0]):
            smooth = cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
            image = np.asarray(cv2.resize(image, (width, height), interpolation=smooth), dtype=np.uint8)
        top, left = i // columns * cell, i % columns * cell
        sheet[top : top + height, left : left + width] = image
    return sheet


def save_sheet(path: Path | str, *datasets: Dataset, columns: int = 6, rows: int = 3, cell_px: int = 200) -> Path:
    """Write a contact sheet of one or more data sets, one below the other; gives the path.

    Each has ``rows`` rows, the last one with what is annotated: boxes and skeletons of the images above it. The suffix
    of ``path`` chooses the format. Raises ``InputError`` on one that images cannot have, ``ValueError`` where there is
    no row.
    """
    path = Path(path)
    if path.suffix.lower() not in (".jpg", ".jpeg", ".png", ".webp"):
        raise InputError(f"{path}: a contact sheet is a .jpg, .png or .webp file")
    parts = []
    for dataset in datasets:
        if rows > 1:
            parts.append(contact_sheet(dataset, columns, rows - 1, annotate=False, cell_px=cell_px))
        parts.append(contact_sheet(dataset, columns, 1, annotate=True, cell_px=cell_px))
    sheet = cv2.cvtColor(np.concatenate(parts), cv2.COLOR_RGB2BGR)
    _, data = cv2.imencode(path.suffix.lower(), sheet, [cv2.IMWRITE_JPEG_QUALITY, 85])
    with replacing(path) as temporary:
        temporary.write_bytes(data.tobytes())
    return path
