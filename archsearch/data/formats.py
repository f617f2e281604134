"""Annotation files of any format that archsearch reads."""

from __future__ import annotations

from pathlib import Path

from archsearch.data.coco import load_coco
from archsearch.data.dataset import Dataset
from archsearch.data.mpii import load_mpii
from archsearch.files import InputError
from archsearch.skeleton import MPII16, Skeleton


def load_annotated(
    annotations: Path | str, images: Path | str, *, skeleton: Skeleton | None = None, heads: Path | str | None = None
) -> Dataset:
    """The data set of a COCO keypoints JSON (an object) or of an MPII JSON (a list), and its folder of images.

    ``heads``: MPII's head boxes, see :func:`archsearch.data.mpii.load_mpii`. Raises ``InputError`` where a file is
    missing or malformed, or has not the joints of ``skeleton``.
    """
    if not _is_list(Path(annotations)):
        if heads is not None:
            raise InputError(f"{heads}: head boxes belong to MPII's annotations, {annotations} are COCO's")
        return load_coco(annotations, images, skeleton=skeleton)
    if skeleton is not None and skeleton.joints != MPII16.joints:
        raise InputError(f"{annotations}: an MPII file, of the joints of {MPII16.name}; {skeleton.name} is needed")
    return load_mpii(annotations, images, heads=heads)


def _is_list(path: Path) -> bool:
    """Whether a JSON file holds a list, by its first character; False where there is no such file."""
    try:
        with path.open("rb") as file:
            return file.read(64).lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"[")
    except OSError:
        return False
