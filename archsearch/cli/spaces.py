"""``archsearch space``: what a space holds, how large it is, architectures from it, and whether it is sound."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from archsearch.cli.shared import AsJson, print_json, print_table
from archsearch.files import InputError, write_text

if TYPE_CHECKING:
    from archsearch.costs.spaces import Priced

app = typer.Typer(no_args_is_help=True, help="Show, count, sample and check search spaces.")

SpaceName = Annotated[str, typer.Argument(help="A space that archsearch ships, or a YAML file.", metavar="SPACE")]


@app.command("show", epilog="Example: archsearch space show litepose")
def space_show(space: SpaceName, as_json: AsJson = False) -> None:
    """The holes of a space with their options, and its smallest and largest architecture."""
    from archsearch.costs.fast import CostModel
    from archsearch.costs.spaces import ends, supernet_params
    from archsearch.holes import patterns
    from archsearch.nets.zoo import load_space

    loaded = load_space(space)
    found = ends(loaded, CostModel(loaded))
    params, groups = supernet_params(loaded), patterns(loaded.holes)
    if as_json:
        holes = [{"hole": group.path, "options": group.options, "how_many": group.count} for group in groups]
        print_json({"name": loaded.name, "size": loaded.size, "supernet_params": params, "holes": holes,
                    "ends": [_priced(end) for end in found]})  # fmt: skip
        return
    print(f"{loaded.name}: {_counted(loaded.size)} architectures in {len(loaded.holes)} holes")
    print_table("", [
        {"hole": group.path, "options": ", ".join(map(str, group.options)), "how many": group.count} for group in groups
    ])  # fmt: skip
    print_table("", [{"architecture": end.name, **_figures(end)} for end in found])
    print(f"supernet: {params:,} parameters")


@app.command("count", epilog="Example: archsearch space count litepose_wide")
def space_count(space: SpaceName, as_json: AsJson = False) -> None:
    """How many architectures a space has, exactly."""
    from archsearch.nets.zoo import load_space

    loaded = load_space(space)
    if as_json:
        print_json({"name": loaded.name, "size": loaded.size, "log10": math.log10(loaded.size)})
    else:
        print(_counted(loaded.size))


@app.command("sample", epilog="Example: archsearch space sample litepose --count 10 --max-macs 2e9 --out archs/")
def space_sample(
    space: SpaceName,
    count: Annotated[int, typer.Option(help="How many different architectures.")] = 1,
    seed: Annotated[int, typer.Option(min=0, help="The same seed gives the same architectures.")] = 0,
    out: Annotated[Path | None, typer.Option(help="A folder for their YAML files; default: print them.")] = None,
    max_macs: Annotated[float | None, typer.Option(help="Only architectures of at most so many MACs.")] = None,
    as_json: AsJson = False,
) -> None:
    """Random architectures as YAML files, named by their fingerprints."""
    from archsearch.costs.spaces import draw_priced
    from archsearch.nets.zoo import arch_yaml, load_space
    from archsearch.space import to_plain

    if out is not None and as_json:
        raise InputError("--out and --json: one of the two")
    loaded = load_space(space)
    found = draw_priced(loaded, count, seed, max_macs)
    if as_json:
        print_json([{**_priced(one), "arch": to_plain(one.arch)} for one in found])
        return
    for one in found:
        text = f"# {loaded.name}, seed {seed}: {one.cost.macs:,} MACs\n{arch_yaml(one.arch)}"
        if out is None:
            print(f"--- # {one.name}\n{text}", end="")
        else:
            write_text(out / f"{one.name}.yaml", text)
    if out is not None:
        print_table(str(out), [{"file": f"{one.name}.yaml", **_figures(one)} for one in found])


@app.command("validate", epilog="Example: archsearch space validate my_space.yaml")
def space_validate(
    space: SpaceName,
    samples: Annotated[int, typer.Option(min=0, help="Random architectures that are tried.")] = 300,
    seed: Annotated[int, typer.Option(min=0, help="The same seed tries the same architectures.")] = 0,
    as_json: AsJson = False,
) -> None:
    """Check that one network holds every option of a space, and random architectures of it. Exit code 2 if not."""
    from archsearch.costs.spaces import check_held, supernet_params
    from archsearch.nets.zoo import load_space

    loaded = load_space(space)
    try:
        held = check_held(loaded, samples, seed)
    except ValueError as error:
        raise InputError(f"{space}: {error}") from None
    params = supernet_params(loaded)
    if as_json:
        print_json({"name": loaded.name, "size": loaded.size, "holes": len(loaded.holes), "supernet_params": params,
                    **vars(held)})  # fmt: skip
        return
    print(f"{loaded.name}: {_counted(loaded.size)} architectures in {len(loaded.holes)} holes")
    print(f"built the largest, without weights: {params:,} parameters")
    print(
        f"ran on it the smallest, the largest, {held.options} options one by one, {held.samples} random architectures"
    )
    print(f"took each to plain values, to choices and back; {held.lowest_macs:,} to {held.highest_macs:,} MACs")


def _counted(size: int) -> str:
    return f"{size:,} (10^{math.log10(size):.2f})"


def _priced(one: Priced) -> dict[str, Any]:
    return {"name": one.name, "macs": one.cost.macs, "params": one.cost.params}


def _figures(one: Priced) -> dict[str, str]:
    return {"MMACs": f"{one.cost.macs / 1e6:,.1f}", "parameters": f"{one.cost.params:,}"}
