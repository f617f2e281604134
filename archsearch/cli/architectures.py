"""Commands about architectures: what there is, and what it costs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from archsearch.cli.shared import ArchName, AsJson, Input, print_json, print_table, size_hw
from archsearch.files import InputError

app = typer.Typer()


@app.command(epilog="Example: archsearch profile higherhrnet-w32 --input 512x512 --by stage")
def profile(
    arch: ArchName,
    input: Input = None,
    joints: Annotated[int | None, typer.Option(help="Joints that the heads predict; default: its own.")] = None,
    by: Annotated[str | None, typer.Option(help="Also by part of the network: stage or block.")] = None,
    check: Annotated[bool, typer.Option("--check", help="Compare with fvcore and thop on the real network.")] = False,
    as_json: AsJson = False,
) -> None:
    """Parameters, activations, peak activation memory, and MACs in every convention that papers use."""
    from archsearch.costs.breakdown import breakdown
    from archsearch.costs.check import compare
    from archsearch.costs.macs import tally, trace
    from archsearch.nets.zoo import load_arch

    if by is not None and by not in ("stage", "block"):
        raise InputError(f"--by {by}: not one of stage, block")
    loaded, hw = load_arch(arch), None if input is None else size_hw(input)
    ops, params = trace(loaded, hw, joints)
    result = tally(ops, params, ops.memory.peak)
    parts = [] if by is None else [vars(part) for part in breakdown(ops, by)]  # type: ignore[arg-type]
    checks = [{**vars(row), "equal": row.equal} for row in compare(loaded, hw, joints, arch)] if check else []
    height, width = hw or loaded.input_hw
    of = {"input_hw": [height, width], "joints": loaded.joints if joints is None else joints}
    if as_json:
        fields = {**of, "params": result.params, "activations": result.activations,
                  "peak_activation_bytes": result.peak_activation_bytes, "macs": result.macs_by_convention}  # fmt: skip
        print_json(
            {"arch": arch, **fields, **({"parts": parts} if parts else {}), **({"check": checks} if check else {})}
        )
    else:
        rows = [{"convention": name, "MACs": _macs(name, value)} for name, value in result.macs_by_convention.items()]
        print_table(f"{arch}: {result.params:,} parameters at {height}x{width}, {of['joints']} joints", rows)
        peak = result.peak_activation_bytes / 2**20
        print(f"{result.activations:,} activations (outputs of convolutions); at most {peak:.1f} MiB alive in float32")
        if parts:
            print_table(f"by {by}", [_part_row(part, result.macs) for part in parts])
        if checks:
            print_table("checked on the real network", [
                {"counter": row["counter"], "figure": row["figure"], "archsearch": f"{row['ours']:,}",
                 "counted": f"{row['theirs']:,}", "": "equal" if row["equal"] else "DIFFERENT"} for row in checks
            ])  # fmt: skip
    if not all(row["equal"] for row in checks):
        raise typer.Exit(1)


def _part_row(part: dict[str, Any], macs: int) -> dict[str, str]:
    return {
        "part": part["path"], "params": f"{part['params']:,}", "MACs": _macs("true", part["macs"]),
        "%": f"{100 * part['macs'] / macs:.1f}", "MACs ptflops_0_6": _macs("ptflops_0_6", part["macs_ptflops_0_6"]),
        "activations": f"{part['activations']:,}",
    }  # fmt: skip


def _macs(convention: str, value: float) -> str:
    units = {"hrnet_gi": "Gi", "torchstat_mi": "Mi"}
    return f"{value:.4g} {units[convention]}" if convention in units else f"{value / 1e9:.3f} G"


@app.command(epilog="Example: archsearch models")
def models(
    as_json: AsJson = False,
    markdown: Annotated[bool, typer.Option("--markdown", help="Print a Markdown table with sources.")] = False,
    into: Annotated[Path | None, typer.Option(help="Put that table between the marks in this file.")] = None,
) -> None:
    """The architectures that archsearch knows."""
    if markdown or into is not None:
        from archsearch.report.models import models_table, put_table

        if into is not None:
            put_table(into)
            print(into)
        else:
            print(models_table(), end="")
        return
    from archsearch.costs.macs import cost
    from archsearch.nets.zoo import load_arch
    from archsearch.nets.zoo import models as names

    rows: list[dict[str, Any]] = []
    for name in names():
        arch = load_arch(name)
        found = cost(arch)
        height, width = arch.input_hw
        row = {"name": name, "input": f"{height}x{width}", "joints": arch.joints, "params": found.params}
        rows.append({**row, "macs": found.macs, "macs_ptflops_0_6": int(found.macs_by_convention["ptflops_0_6"])})
    if as_json:
        print_json(rows)
    else:
        print_table("", [{**r, "params": f"{r['params']:,}", "macs": _macs("true", r["macs"]),
                           "macs_ptflops_0_6": _macs("ptflops_0_6", r["macs_ptflops_0_6"])} for r in rows])  # fmt: skip


@app.command(epilog="Example: archsearch draw litehrnet-18 --out litehrnet-18.png")
def draw(
    archs: Annotated[list[str], typer.Argument(help="Known names or YAML files; later ones against the first.")],
    out: Annotated[Path, typer.Option(help="The picture to write: .png, .svg or .pdf.")],
) -> None:
    """Draw architectures: resolutions as rows, blocks as boxes with their kinds and kernels."""
    from archsearch.nets.zoo import load_arch
    from archsearch.report import style
    from archsearch.report.architecture import architectures_figure

    loaded = {Path(name).stem if name.endswith((".yaml", ".yml", ".json")) else name: load_arch(name) for name in archs}
    with style.style():
        figure = architectures_figure(loaded)
        style.save_as(figure, out)
    print(out)
