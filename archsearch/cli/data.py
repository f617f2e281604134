"""``archsearch data``: make the embedded data, check a data set."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from archsearch.cli.shared import AsJson, print_json, screen
from archsearch.progress import board

app = typer.Typer(no_args_is_help=True, help="Make the embedded data; check a data set.")


@app.command("scenes", epilog="Example: archsearch data scenes out/ --images 500 --size 256 --level hard")
def data_scenes(
    out: Annotated[Path, typer.Argument(help="The folder to write: images/ and annotations.json.")],
    images: Annotated[int, typer.Option(help="How many images.")] = 100,
    size: Annotated[int, typer.Option(help="Height and width in pixels.")] = 256,
    seed: Annotated[int, typer.Option(help="The same seed gives the same bytes.")] = 0,
    skeleton: Annotated[str, typer.Option(help="coco17, crowdpose14, mpii16, or a YAML file.")] = "coco17",
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


@app.command("check", epilog="Example: archsearch data check person_keypoints_val2017.json --images val2017/")
def data_check(
    annotations: Annotated[Path, typer.Argument(help="COCO keypoints JSON.")],
    images: Annotated[Path, typer.Option(help="The folder of its images.")],
    skeleton: Annotated[
        str | None, typer.Option(help="coco17, crowdpose14, mpii16 or a YAML file; default: told by the annotations.")
    ] = None,
    decode: Annotated[bool, typer.Option(help="Decode every image, not only its header and end.")] = False,
    strict: Annotated[bool, typer.Option(help="Exit with code 2 on warnings too.")] = False,
    examples: Annotated[int, typer.Option(min=0, help="How many places of each kind are shown.")] = 3,
    as_json: AsJson = False,
) -> None:
    """Everything that is wrong with a data set, before a night of training finds out. Exit code 2 on errors."""
    from archsearch.data.check import check
    from archsearch.skeleton import load_skeleton

    chosen = None if skeleton is None else load_skeleton(skeleton)
    with board(screen) as shown:
        report = check(
            annotations,
            images,
            skeleton=chosen,
            decode=decode,
            examples=examples,
            progress=lambda done, total: shown.show(str(images), "reading files", done, total),
        )
    if as_json:
        print_json(report.as_json())
    else:
        print(
            f"{annotations}: {report.images} images ({report.images_without_people} without annotations), "
            f"{report.people} people with {report.skeleton} joints, {report.people_without_joints} without, "
            f"{report.crowds} crowds"
        )
        for finding in report.findings:
            print(f"{finding.level}: {finding.count} {finding.title} [{finding.kind}]")
            for example in finding.examples:
                print(f"    {example}")
        print(f"{report.count('error')} errors, {report.count('warning')} warnings")
    if report.count("error") or (strict and report.count("warning")):
        raise typer.Exit(2)
