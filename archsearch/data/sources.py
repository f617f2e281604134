"""Where a study's images come from: the embedded scenes, or COCO-format files."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from archsearch.data.coco import load_coco
from archsearch.data.dataset import Dataset, annotated_images
from archsearch.data.scenes import scenes
from archsearch.files import InputError
from archsearch.settings import Settings
from archsearch.skeleton import load_skeleton


class SceneData(Settings):
    """The embedded scenes, drawn when they are first needed and kept in a cache."""

    kind: Literal["scenes"]
    skeleton: str = "coco17"
    level: Literal["easy", "hard"] = "easy"
    size_px: int = Field(96, ge=32)  # height and width
    train: int = Field(gt=0)  # training images
    val: int = Field(gt=0)  # validation images, drawn from another seed
    seed: int = Field(0, ge=0)


class CocoData(Settings):
    """COCO-format annotations and folders of images; the validation part may be the training part (overfitting)."""

    kind: Literal["coco"]
    name: str = "custom"
    skeleton: str | None = None  # a known name or a YAML file; None: told by the annotations
    root: Path = Path(".")  # relative paths below are under it
    train_annotations: Path
    train_images: Path
    val_annotations: Path
    val_images: Path
    source: str = ""  # where the data can be had, for the message when they are not there


DataSettings = Annotated[SceneData | CocoData, Field(discriminator="kind")]


def load_data(
    settings: SceneData | CocoData, *, cache: Path | None = None, workers: int = 1
) -> tuple[Dataset, Dataset]:
    """The training and the validation data set; of COCO-format files only images with annotations are trained on.

    ``cache``: a folder in which drawn scenes are kept. Raises ``InputError`` where files are missing or wrong.
    """
    if isinstance(settings, SceneData):
        cache = _writable(cache)
        skeleton = load_skeleton(settings.skeleton)
        size, level, seed = settings.size_px, settings.level, 2 * settings.seed
        train = scenes(settings.train, size, seed, skeleton, level, cache=cache, workers=workers)
        return train, scenes(settings.val, size, seed + 1, skeleton, level, cache=cache, workers=workers)
    _check_present(settings)
    chosen = None if settings.skeleton is None else load_skeleton(settings.skeleton)
    root = settings.root
    train = load_coco(root / settings.train_annotations, root / settings.train_images, skeleton=chosen)
    learned = annotated_images(train)
    if not len(learned):
        raise InputError(f"data.train_annotations: {settings.train_annotations}: no image has an annotation")
    if (settings.val_annotations, settings.val_images) == (settings.train_annotations, settings.train_images):
        return learned, train
    return learned, load_coco(root / settings.val_annotations, root / settings.val_images, skeleton=chosen)


def _writable(cache: Path | None) -> Path | None:
    if cache is not None:
        try:
            cache.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            reason = error.strerror or type(error).__name__
            raise InputError(f"{cache}: no place for a cache ({reason}); set ARCHSEARCH_CACHE") from None
    return cache


def _check_present(settings: CocoData) -> None:
    fields = ("train_annotations", "train_images", "val_annotations", "val_images")
    missing = [(name, settings.root / getattr(settings, name)) for name in fields]
    missing = [(name, path) for name, path in missing if not path.exists()]
    if missing:
        name, path = missing[0]
        more = f" (and {len(missing) - 1} more)" if len(missing) > 1 else ""
        source = f"; {settings.source}" if settings.source else ""
        hint = f"set data.root to the folder of {settings.name}{source}"
        raise InputError(f"data.{name}: {path}: not there{more}; {hint}")
