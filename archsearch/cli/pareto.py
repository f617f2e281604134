"""``archsearch pareto``: AP against a cost, from recorded results."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import Annotated

import typer

from archsearch.cli.shared import AsJson, print_json, print_table
from archsearch.files import InputError

app = typer.Typer()


@app.command(epilog="Example: archsearch pareto --published crowdpose --out figures/")
def pareto(
    runs: Annotated[list[Path] | None, typer.Argument(help="Folders of runs.", metavar="[RUN]...")] = None,
    x: Annotated[str, typer.Option(help="macs, macs:CONVENTION (as macs:ptflops_0_6), params or latency:DEVICE.")] = (
        "macs"
    ),
    y: Annotated[str, typer.Option(help="ap, ap50 or ap75.")] = "ap",
    published: Annotated[
        str | None, typer.Option(help="Add the models of the papers on crowdpose or coco, in the axis's convention.")
    ] = None,
    latency: Annotated[
        list[Path] | None, typer.Option(help="JSONL of `archsearch latency measure`; may be repeated.")
    ] = None,
    together: Annotated[bool, typer.Option("--together", help="One front of all points, not one a run.")] = False,
    width: Annotated[str, typer.Option(help="column (3.5 in) or page (7.16 in).")] = "column",
    out: Annotated[Path, typer.Option(help="The folder to write.")] = Path("pareto"),
    as_json: AsJson = False,
) -> None:
    """The front of AP against MACs, parameters or latency: PNG, SVG, a page, tables. Nothing is computed anew."""
    from archsearch.report.pareto.write import Request, write_pareto
    from archsearch.runs import Run

    for path in runs or []:
        if not path.is_dir():
            raise InputError(f"{path}: no such folder; a run's folder is needed, as runs/gradual_shrinking/TIME")
    command = shlex.join(["archsearch", *sys.argv[1:]])
    request = Request(
        tuple(map(Run, runs or [])), x, y, published, tuple(latency or []), together, width, command
    )  # fmt: skip
    rows = write_pareto(request, out)
    if as_json:
        print_json(rows)
        return
    shown = [
        {
            "point": row["name"], "series": row["series"], "AP": f"{row['ap']:.3f}",
            "95 %": "" if row["ap_low"] is None else f"{row['ap_low']:.3f} to {row['ap_high']:.3f}",
            x: f"{row['cost']:.4g} {row['unit']}", "on it": f"{100 * row['probability']:.0f} %",
        }
        for row in rows if row["on_front"]
    ]  # fmt: skip
    print_table(f"on the front, {len(shown)} of {len(rows)}", shown)
    print((out / "caption.txt").read_text(encoding="utf-8"))
    print("\n".join(str(out / name) for name in ("pareto.html", "pareto.png", "pareto.svg", "pareto.csv")))
