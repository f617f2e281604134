"""``archsearch data``: the embedded data."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from archsearch.cli.shared import screen
from archsearch.progress import board

app = typer.Typer(no_args_is_help=True, help="Make the embedded data.")


@app.command("scenes", epilog="Example: archsearch data scenes out/ --images 500 --size 256 --level hard")
def data_scenes(
    out: Annotated[Path, typer.Argument(help="The folder to write: images/ and annotations.json.")],
    images: Annotated[int, typer.Option(help="How many images.")] = 100,
    size: Annotated[int, typer.Option(help="Height and width in pixels.")] = 256,
    seed: Annotated[int, typer.Option(help="The same seed gives the same bytes.")] = 0,
    skeleton: Annotated[str, typer.Option(help="coco17 or crowdpose14.")] = "coco17",
    level: Annotated[str, typer.Option(help="easy or hard.")] = "easy",
    sheet: Annotated[Path | None, typer.Option(help="Also write a contact sheet of the first images here.")] = None,
) -> None:
    """Draw multi-person scenes as a COCO keypoints JSON and JPEG images."""
    from archsearch.data.scenes import scenes, write_scenes
    from archsearch.environment import cores
    from archsearch.skeleton import load_skeleton

    dataset = scenes(images, size, seed, load_skeleton(skeleton), level, workers=cores())
    with board(screen) as shown:
        shown.show(str(out), "writing", 0, images)
        path = write_scenes(out, dataset, progress=lambda done: shown.show(str(out), "writing", done, images))
    print(path)
    if sheet is not None:
        from archsearch.data.contact import save_sheet

        save_sheet(sheet, dataset)
        print(sheet)
