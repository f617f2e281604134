"""Where a study's images come from: the embedded scenes, or files in the format of COCO or MPII."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, model_validator

from archsearch.data.coco import load_coco
from archsearch.data.dataset import Dataset, annotated_images
from archsearch.data.mpii import load_mpii
from archsearch.data.scenes import scenes
from archsearch.files import InputError
from archsearch.settings import Settings
from archsearch.skeleton import MPII16, load_skeleton


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
    """Annotations and folders of images; the validation part may be the training part (overfitting)."""

    kind: Literal["coco", "mpii"]  # the format of the annotations: COCO's, or the JSON that HRNet made of MPII's
    name: str = "custom"
    skeleton: str | None = None  # a known name or a YAML file; None: told by the annotations. MPII has mpii16
    root: Path = Path(".")  # relative paths below are under it
    train_annotations: Path
    train_images: Path
    val_annotations: Path
    val_images: Path
    val_heads: Path | None = None  # MPII's head boxes, which PCKh needs: gt_valid.mat or a JSON
    source: str = ""  # where the data can be had, for the message when they are not there

    @model_validator(mode="after")
    def _fits_its_kind(self) -> CocoData:
        if self.kind == "coco" and self.val_heads is not None:
            raise ValueError(f"val_heads {self.val_heads}: only data of kind mpii has head boxes")
        if self.kind == "mpii" and self.skeleton not in (None, MPII16.name):
            raise ValueError(f"skeleton {self.skeleton}: data of kind mpii has the skeleton {MPII16.name}")
        return self


DataSettings = Annotated[SceneData | CocoData, Field(discriminator="kind")]


def load_data(
    settings: SceneData | CocoData, *, cache: Path | None = None, workers: int = 1
) -> tuple[Dataset, Dataset]:
    """The training and the validation data set; of files only images with annotations are trained on.

    ``cache``: a folder in which drawn scenes are kept. Raises ``InputError`` where files are missing or wrong.
    """
    if isinstance(settings, SceneData):
        cache = _writable(cache)
        skeleton = load_skeleton(settings.skeleton)
        size, level, seed = settings.size_px, settings.level, 2 * settings.seed
        train = scenes(settings.train, size, seed, skeleton, level, cache=cache, workers=workers)
        return train, scenes(settings.val, size, seed + 1, skeleton, level, cache=cache, workers=workers)
    _check_present(settings)
    read = _mpii if settings.kind == "mpii" else _coco
    train = read(settings, settings.train_annotations, settings.train_images, None)
    learned = annotated_images(train)
    if not len(learned):
        raise InputError(f"data.train_annotations: {settings.train_annotations}: no image has an annotation")
    same = (settings.val_annotations, settings.val_images) == (settings.train_annotations, settings.train_images)
    if same and settings.val_heads is None:
        return learned, train
    return learned, read(settings, settings.val_annotations, settings.val_images, settings.val_heads)


def _coco(settings: CocoData, annotations: Path, images: Path, heads: Path | None) -> Dataset:
    assert heads is None
    skeleton = None if settings.skeleton is None else load_skeleton(settings.skeleton)
    return load_coco(settings.root / annotations, settings.root / images, skeleton=skeleton)


def _mpii(settings: CocoData, annotations: Path, images: Path, heads: Path | None) -> Dataset:
    given = None if heads is None else settings.root / heads
    return load_mpii(settings.root / annotations, settings.root / images, heads=given)


def _writable(cache: Path | None) -> Path | None:
    if cache is not None:
        try:
            cache.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            reason = error.strerror or type(error).__name__
            raise InputError(f"{cache}: no place for a cache ({reason}); set ARCHSEARCH_CACHE") from None
    return cache


def _check_present(settings: CocoData) -> None:
    fields = ["train_annotations", "train_images", "val_annotations", "val_images"]
    fields += [] if settings.val_heads is None else ["val_heads"]
    missing = [(name, settings.root / getattr(settings, name)) for name in fields]
    missing = [(name, path) for name, path in missing if not path.exists()]
    if missing:
        name, path = missing[0]
        more = f" (and {len(missing) - 1} more)" if len(missing) > 1 else ""
        source = f"; {settings.source}" if settings.source else ""
        hint = f"set data.root to the folder of {settings.name}{source}"
        raise InputError(f"data.{name}: {path}: not there{more}; {hint}")
