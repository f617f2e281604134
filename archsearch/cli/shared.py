"""What all commands share: the screen, common options, and how results are printed."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from archsearch.files import InputError

screen = Console(stderr=True)  # progress and messages; results go to standard output

Overrides = Annotated[
    list[str] | None, typer.Argument(help="Settings to change, as train.lr=0.01", metavar="[KEY=VALUE]...")
]
ArchName = Annotated[
    str, typer.Argument(help="A known name or a YAML file; `archsearch models` lists the names.", metavar="ARCH")
]
Input = Annotated[str | None, typer.Option(help="Height x width, as 512x512; default: its own.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON for a machine to read.")]
Resume = Annotated[bool, typer.Option("--resume", help="Go on with the newest run of this study.")]
RunsFolder = Annotated[Path, typer.Option("--runs", help="The folder of all runs.")]
Device = Annotated[str, typer.Option(help="auto, cpu or cuda.")]


def size_hw(text: str) -> tuple[int, int]:
    """Height and width of ``512x512``. Raises ``InputError`` where the text is not of that form."""
    height, x, width = text.partition("x")
    if not (x and height.isdecimal() and width.isdecimal()):
        raise InputError(f"--input {text}: height x width in pixels needed, as 512x512")
    return int(height), int(width)


def model_folder(given: Path) -> Path:
    """The folder of a model: itself, or the only one of a run. Raises ``InputError`` where there is not one."""
    if (given / "weights.safetensors").exists():
        return given
    inside = sorted(path.parent for path in given.glob("models/*/weights.safetensors"))
    if len(inside) == 1:
        return inside[0]
    if inside:
        raise InputError(f"{given}: holds {len(inside)} models, name one: {', '.join(str(path) for path in inside)}")
    raise InputError(f"{given}: no trained model, weights.safetensors and arch.yaml are needed")


def print_json(value: Any) -> None:
    print(json.dumps(value, indent=1))


def print_table(title: str, rows: list[dict[str, Any]]) -> None:
    """Rows as a table, columns in the order of the first row."""
    table = Table(title=title)
    for name in rows[0] if rows else []:
        table.add_column(name, justify="left" if isinstance(rows[0][name], str) else "right")
    for row in rows:
        table.add_row(*(str(value) for value in row.values()))
    Console(width=None if sys.stdout.isatty() else 200).print(table)


def print_figures(title: str, result: dict[str, Any]) -> None:
    names = ("ap", "ap50", "ap75", "ap_m", "ap_l", "ar")
    row = {name: "-" if result.get(name) is None else f"{result[name]:.3f}" for name in names if name in result}
    if "ap_low" in result:
        row["95 % of AP"] = f"{result['ap_low']:.3f} to {result['ap_high']:.3f}"
    print_table(title, [row])
