"""Commands that use a trained model."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from archsearch.cli.shared import AsJson, Device, model_folder, print_figures, print_json, print_table, screen
from archsearch.files import InputError
from archsearch.progress import board

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy as np
    import torch
    from numpy.typing import NDArray

    from archsearch.data.dataset import Dataset
    from archsearch.experiments.methods import OnResults
    from archsearch.train.checkpoint import Model

app = typer.Typer()

Detections = Annotated[
    Path | None, typer.Option(help="Top-down: boxes to look for people in, in COCO detections format.")
]
Scales = Annotated[
    list[float] | None,
    typer.Option(
        "--scale",
        help="Bottom-up: see the images at this part of the input's size, too; say it again for more of them.",
    ),
]
Flip = Annotated[
    bool | None, typer.Option("--flip/--no-flip", help="See mirrored images, too; default: as the model's study says.")
]


@app.command("eval", epilog="Example: archsearch eval runs/s/t/models/m --annotations val.json --images val2017/")
def evaluate_model(
    model: Annotated[Path, typer.Argument(help="A model's folder, or a run with one model.")],
    annotations: Annotated[Path, typer.Option(help="COCO keypoints JSON, or MPII's.")],
    images: Annotated[Path, typer.Option(help="The folder of its images.")],
    detections: Detections = None,
    heads: Annotated[
        Path | None, typer.Option(help="MPII: head boxes for PCKh, gt_valid.mat or a JSON list of boxes.")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Write the predictions here, in COCO results format.")] = None,
    scale: Scales = None,
    flip: Flip = None,
    device: Device = "auto",
    as_json: AsJson = False,
) -> None:
    """Average precision of a trained model on a data set in COCO's or MPII's format; with --heads PCKh, too.

    A top-down network looks for one person in each annotated box, or in each box of --detections. --scale 0.5 --scale 1
    --scale 2 is the papers' multi-scale test. Of annotations without people (COCO's test-dev) only --out is written.
    """
    from archsearch.data.formats import load_annotated
    from archsearch.environment import choose_device
    from archsearch.experiments.methods import evaluated
    from archsearch.pose.evaluate import bootstrap, write_results
    from archsearch.train.checkpoint import load_model

    chosen = choose_device(device)
    loaded = _tested(model, load_model(model_folder(model), chosen), scale, flip)
    _check_boxes(model, loaded, detections=detections)
    dataset = load_annotated(annotations, images, skeleton=loaded.skeleton, heads=heads)
    find, boxes = _finding(loaded, dataset, detections, chosen)
    if out is not None and not dataset.annotations["annotations"]:
        results = find(lambda _: None)
        write_results(out, results)
        print(f"{out}: {len(results)} results; {annotations} has nobody to compare them with")
        return
    found = evaluated(dataset, find)
    scores, pckh = found.scores, found.pckh
    interval = bootstrap(scores)
    if out is not None:
        write_results(out, found.results)
    figures: dict[str, Any] = {**scores.summary(), "ap_low": interval.low, "ap_high": interval.high}
    if as_json:
        extra = {"boxes": boxes, "pckh": None if pckh is None else pckh.summary()}
        print_json({**figures, **{name: value for name, value in extra.items() if value is not None}})
        return
    where = f"{model} on {annotations}" + ("" if boxes is None else f", {boxes}")
    print_figures(where, figures)
    if pckh is not None:
        shares = {name: value for name, value in pckh.summary().items() if name != "people"}
        row = {name: "-" if value is None else f"{value:.3f}" for name, value in shares.items()}
        print_table(f"PCKh: {where}", [row])


def _check_boxes(model: Path, loaded: Model, **given: Path | None) -> None:
    """Raise ``InputError`` where a bottom-up network is given boxes."""
    from archsearch.nets.zoo import is_bottom_up

    for option, path in given.items():
        if path is not None and is_bottom_up(loaded.arch):
            raise InputError(f"--{option} {path}: {model} is a bottom-up network, which finds people without boxes")


def _tested(model: Path, loaded: Model, scales: list[float] | None, flip: bool | None) -> Model:
    """A model with the test that the options ask for. Raises ``InputError`` where a top-down one is given scales."""
    from archsearch.pose.bottomup import DecodeSettings, check_scales

    decode = loaded.decode
    if flip is not None:
        decode = dataclasses.replace(decode, flip=flip)
    if scales:
        if not isinstance(decode, DecodeSettings):
            raise InputError(f"--scale {scales[0]}: {model} is a top-down network, which sees every box at one size")
        decode = dataclasses.replace(decode, scales=tuple(scales))
        check_scales(decode, min(loaded.arch.input_hw), loaded.arch)
    return dataclasses.replace(loaded, decode=decode)


def _finding(
    loaded: Model, dataset: Dataset, detections: Path | None, device: torch.device
) -> tuple[Callable[[OnResults], list[dict[str, Any]]], str | None]:
    """A function that finds people in a data set, as ``experiments.methods.evaluated`` takes it, and what boxes it
    looks in: None for a bottom-up network."""
    from archsearch.experiments.methods import boxes_for, find_in_boxes, helpers
    from archsearch.pose import bottomup, topdown

    decode, input_hw = loaded.decode, loaded.arch.input_hw
    persons = boxes_for(dataset, detections) if isinstance(decode, topdown.TopDownDecode) else None
    total = len(dataset) if persons is None else len(persons)

    def find(on_results: OnResults) -> list[dict[str, Any]]:
        done = 0
        with board(screen) as shown:

            def on_part(count: int) -> None:
                nonlocal done
                done += count
                shown.show("images" if persons is None else "boxes", "", done, total)

            if isinstance(decode, topdown.TopDownDecode):
                assert persons is not None
                return find_in_boxes(loaded.net, dataset, decode, input_hw, persons, device, on_part, on_results)
            return bottomup.predict(
                loaded.net, dataset, decode, size_px=min(input_hw), device=device, workers=helpers(device),
                on_image=on_part, on_results=on_results,
            )  # fmt: skip

    return find, None if persons is None else f"{total} {persons.source}"


@app.command(epilog="Example: archsearch predict runs/overfit_photos/20260101-120000 photo.jpg --out drawn/")
def predict(
    model: Annotated[Path, typer.Argument(help="A model's folder, or a run with one model.")],
    photos: Annotated[list[Path], typer.Argument(help="Images, or folders of images.")],
    out: Annotated[Path, typer.Option(help="The folder for the drawn images and people.json.")] = Path("predictions"),
    annotations: Annotated[
        Path | None, typer.Option(help="Top-down: a JSON of annotations of these photos, for people's boxes.")
    ] = None,
    detections: Detections = None,
    scale: Scales = None,
    flip: Flip = None,
    device: Device = "auto",
    threshold: Annotated[float, typer.Option(help="People with a lower score are left out of the drawing.")] = 0.1,
) -> None:
    """Find people in images: skeletons drawn on copies, and a JSON of their joints.

    A top-down network looks for one person in each box of --annotations or --detections, without both in the whole
    image. Detections name images by number: give --annotations too, unless the photos' names are these numbers.
    """
    import cv2

    from archsearch.environment import choose_device
    from archsearch.files import replacing, write_json
    from archsearch.pose.draw import draw_people
    from archsearch.train.checkpoint import load_model

    paths = _image_files(photos)
    chosen = choose_device(device)
    loaded = _tested(model, load_model(model_folder(model), chosen), scale, flip)
    _check_boxes(model, loaded, annotations=annotations, detections=detections)
    find = _finder(loaded, paths, annotations, detections, chosen)
    found: dict[str, Any] = {}
    with board(screen) as shown:
        for done, path in enumerate(paths, 1):
            image, people = find(path)
            kept = [person["joints"] for person in people if person["score"] >= threshold]
            drawn = draw_people(image, kept, loaded.skeleton)
            name = out / (path.stem + ".png")
            with replacing(name) as temporary:
                if not cv2.imwrite(str(temporary), cv2.cvtColor(drawn, cv2.COLOR_RGB2BGR)):
                    raise InputError(f"{name}: cannot be written")
            found[str(path)] = people
            print(f"{name}: {len(kept)} people")
            shown.show("images", path.name, done, len(paths))
    write_json(out / "people.json", {"joints": list(loaded.skeleton.joints), "images": found})


def _finder(
    loaded: Model, paths: list[Path], annotations: Path | None, detections: Path | None, device: torch.device
) -> Callable[[Path], tuple[NDArray[np.uint8], list[dict[str, Any]]]]:
    """A function that reads a photo and finds the people in it, ready for JSON."""
    from archsearch.cli.boxes import box_source
    from archsearch.data.photos import read_image
    from archsearch.pose import bottomup, topdown

    net, skeleton, decode, input_hw = loaded.net, loaded.skeleton, loaded.decode, loaded.arch.input_hw
    if not isinstance(decode, topdown.TopDownDecode):

        def all_at_once(path: Path) -> tuple[NDArray[np.uint8], list[dict[str, Any]]]:
            image = read_image(path, upright=True)
            persons, scores = bottomup.predict_image(
                net, image, skeleton, decode, size_px=min(input_hw), device=device
            )  # fmt: skip
            return image, [_person(joints, score) for joints, score in zip(persons, scores, strict=True)]

        return all_at_once
    source = box_source(paths, annotations, detections, skeleton)
    screen.print(f"people are looked for in {source.words}", markup=False, highlight=False, soft_wrap=True)

    def box_by_box(path: Path) -> tuple[NDArray[np.uint8], list[dict[str, Any]]]:
        photo = source.read(path)
        people = topdown.people_in_image(
            net, photo.image_HW3, photo.boxes_K4, photo.scores_K, skeleton, decode, input_hw=input_hw, device=device
        )
        boxes = photo.boxes_K4[people.boxes_N].round(3).tolist()
        rows = zip(people.joints_NJ3, people.scores_N, boxes, strict=True)
        return photo.image_HW3, [{**_person(joints, score), "box": box} for joints, score, box in rows]

    return box_by_box


def _person(joints_JX: NDArray[Any], score: float) -> dict[str, Any]:
    joints = [[round(float(value), 3) for value in joint[:3]] for joint in joints_JX]
    return {"score": float(score), "joints": joints}


def _image_files(given: list[Path]) -> list[Path]:
    suffixes = {".jpg", ".jpeg", ".png", ".bmp", ".webp"}
    files: list[Path] = []
    for path in given:
        if path.is_dir():
            inside = sorted(p for p in path.iterdir() if p.suffix.lower() in suffixes)
            if not inside:
                raise InputError(f"{path}: no images in this folder ({', '.join(sorted(suffixes))})")
            files += inside
        elif path.exists():
            files.append(path)
        else:
            raise InputError(f"{path}: no such file")
    names = [path.stem for path in files]
    for path in files:
        if names.count(path.stem) > 1:
            raise InputError(f"{path}: another image is called {path.stem} too, both would be drawn into one file")
    return files
