"""Commands about architectures: what there is, and what it costs."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from archsearch.cli.shared import AsJson, print_json, print_table
from archsearch.files import InputError

app = typer.Typer()


@app.command(epilog="Example: archsearch profile higherhrnet-w32 --input 512x512")
def profile(
    arch: Annotated[str, typer.Argument(help="A known name or a YAML file; `archsearch models` lists the names.")],
    input: Annotated[str | None, typer.Option(help="Height x width, as 512x512; default: its own.")] = None,
    joints: Annotated[int | None, typer.Option(help="Joints that the heads predict; default: its own.")] = None,
    as_json: AsJson = False,
) -> None:
    """Parameters, and MACs in every convention that papers use."""
    from archsearch.costs.macs import cost
    from archsearch.nets.zoo import load_arch

    loaded = load_arch(arch)
    result = cost(loaded, input_hw=None if input is None else _size(input), joints=joints)
    if as_json:
        fields = {"params": result.params, "activations": result.activations, "macs": result.macs_by_convention}
        print_json({"arch": arch, **fields})
        return
    rows = [{"convention": name, "MACs": _macs(name, value)} for name, value in result.macs_by_convention.items()]
    print_table(f"{arch}: {result.params:,} parameters", rows)


def _macs(convention: str, value: float) -> str:
    units = {"hrnet_gi": "Gi", "torchstat_mi": "Mi"}
    return f"{value:.4g} {units[convention]}" if convention in units else f"{value / 1e9:.3f} G"


def _size(text: str) -> tuple[int, int]:
    height, x, width = text.partition("x")
    if not (x and height.isdigit() and width.isdigit()):
        raise InputError(f"--input {text}: height x width in pixels needed, as 512x512")
    return int(height), int(width)


@app.command(epilog="Example: archsearch models")
def models(as_json: AsJson = False) -> None:
    """The architectures that archsearch knows."""
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
