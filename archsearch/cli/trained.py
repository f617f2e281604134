"""Commands that use a trained model."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from archsearch.cli.shared import AsJson, Device, model_folder, print_figures, print_json, screen
from archsearch.files import InputError
from archsearch.progress import board

if TYPE_CHECKING:
    import torch

    from archsearch.train.checkpoint import Model

app = typer.Typer()


def _loaded(given: Path, device: torch.device) -> Model:
    """The bottom-up model in a folder. Raises ``InputError`` where there is none, or another one."""
    from archsearch.nets.zoo import is_bottom_up
    from archsearch.train.checkpoint import load_model

    folder = model_folder(given)
    loaded = load_model(folder, device)
    if not is_bottom_up(loaded.arch):
        raise InputError(f"{folder}: a top-down network, which needs people's boxes; only bottom-up ones run as yet")
    return loaded


@app.command("eval", epilog="Example: archsearch eval runs/s/t/models/m --annotations val.json --images val2017/")
def evaluate_model(
    model: Annotated[Path, typer.Argument(help="A model's folder, or a run with one model.")],
    annotations: Annotated[Path, typer.Option(help="COCO keypoints JSON.")],
    images: Annotated[Path, typer.Option(help="The folder of its images.")],
    out: Annotated[Path | None, typer.Option(help="Write the predictions here, in COCO results format.")] = None,
    device: Device = "auto",
    as_json: AsJson = False,
) -> None:
    """Average precision of a trained model on a COCO-format data set."""
    from archsearch.data.coco import load_coco
    from archsearch.environment import choose_device
    from archsearch.files import write_json
    from archsearch.pose.bottomup import predict as run_model
    from archsearch.pose.evaluate import bootstrap, evaluate

    chosen = choose_device(device)
    loaded = _loaded(model, chosen)
    dataset = load_coco(annotations, images, skeleton=loaded.skeleton)
    with board(screen) as shown:
        done = 0

        def on_image(count: int) -> None:
            nonlocal done
            done += count
            shown.show("images", "", done, len(dataset))

        size_px = min(loaded.arch.input_hw)
        results = run_model(
            loaded.net, dataset, loaded.decode, size_px=size_px, device=chosen, on_image=on_image
        )  # fmt: skip
    scores = evaluate(dataset.annotations, results, dataset.skeleton)
    interval = bootstrap(scores)
    if out is not None:
        write_json(out, results)
    figures = {**scores.summary(), "ap_low": interval.low, "ap_high": interval.high}
    if as_json:
        print_json(figures)
    else:
        print_figures(f"{model} on {annotations}", figures)


@app.command(epilog="Example: archsearch predict runs/overfit_photos/20260101-120000 photo.jpg --out drawn/")
def predict(
    model: Annotated[Path, typer.Argument(help="A model's folder, or a run with one model.")],
    photos: Annotated[list[Path], typer.Argument(help="Images, or folders of images.")],
    out: Annotated[Path, typer.Option(help="The folder for the drawn images and people.json.")] = Path("predictions"),
    device: Device = "auto",
    threshold: Annotated[float, typer.Option(help="People with a lower score are left out of the drawing.")] = 0.1,
) -> None:
    """Find people in images: skeletons drawn on copies, and a JSON of their joints."""
    import cv2

    from archsearch.data.coco import read_image
    from archsearch.environment import choose_device
    from archsearch.files import replacing, write_json
    from archsearch.pose.bottomup import predict_image
    from archsearch.pose.draw import draw_people

    paths = _image_files(photos)
    chosen = choose_device(device)
    loaded = _loaded(model, chosen)
    found: dict[str, Any] = {}
    with board(screen) as shown:
        for done, path in enumerate(paths, 1):
            image = read_image(path, upright=True)
            persons, scores = predict_image(
                loaded.net, image, loaded.skeleton, loaded.decode,
                size_px=min(loaded.arch.input_hw), device=chosen,
            )  # fmt: skip
            kept = scores >= threshold
            drawn = draw_people(image, persons[kept], loaded.skeleton)
            name = out / (path.stem + ".png")
            with replacing(name) as temporary:
                if not cv2.imwrite(str(temporary), cv2.cvtColor(drawn, cv2.COLOR_RGB2BGR)):
                    raise InputError(f"{name}: cannot be written")
            people = [
                {"score": float(score), "joints": [[round(float(v), 3) for v in joint[:3]] for joint in person]}
                for person, score in zip(persons, scores, strict=True)
            ]
            found[str(path)] = people
            print(f"{name}: {int(kept.sum())} people")
            shown.show("images", path.name, done, len(paths))
    write_json(out / "people.json", {"joints": list(loaded.skeleton.joints), "images": found})


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
