"""``archsearch latency``: latency that is measured, predicted from a table, and set against MACs."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from archsearch.cli.shared import AsJson, Input, print_json, print_table, screen, size_hw
from archsearch.files import InputError, write_json
from archsearch.progress import Board, board, interruptible

if TYPE_CHECKING:
    from archsearch.costs.runtimes import Setting

app = typer.Typer(no_args_is_help=True, help="Measure latency, predict it, and set it against MACs.")

OnDevice = Annotated[str, typer.Option(help="auto, cpu, cuda or onnxruntime (which runs on the CPU).")]
Batch = Annotated[int, typer.Option(help="Images at once.")]
Threads = Annotated[int, typer.Option(help="Threads of the CPU.")]
Dtype = Annotated[str, typer.Option(help="float32, float16 or bfloat16.")]
ChannelsLast = Annotated[bool, typer.Option(help="Memory format of images and weights (torch only).")]
Repeats = Annotated[int, typer.Option(help="Timed runs of each; medians are reported.")]
LATENCIES = Path("latency.jsonl")


@app.command("measure", epilog="Example: archsearch latency measure litepose-s --device cpu --threads 1")
def latency_measure(
    archs: Annotated[list[str] | None, typer.Argument(help="Known names or YAML files.", metavar="[ARCH]...")] = None,
    device: OnDevice = "cpu",
    input: Input = None,
    batch: Batch = 1,
    dtype: Dtype = "float32",
    channels_last: ChannelsLast = True,
    compile: Annotated[bool, typer.Option("--compile", help="Also compiled by torch.compile.")] = False,
    graph: Annotated[bool | None, typer.Option(help="CUDA graphs only, or not at all; default: beside eager.")] = None,
    threads: Threads = 1,
    repeats: Repeats = 50,
    warmup: Annotated[int, typer.Option(help="Runs before that do not count.")] = 5,
    arch_list: Annotated[Path | None, typer.Option(help="A file with a name or a YAML file on each line.")] = None,
    out: Annotated[Path, typer.Option(help="The JSONL file that records are appended to.")] = LATENCIES,
    as_json: AsJson = False,
) -> None:
    """Median, interquartile range and 95th percentile of one forward; on a GPU eager and CUDA graph apart."""
    from archsearch.costs.records import measure_and_append, read_arch_list, settings_for
    from archsearch.nets.zoo import load_arch

    found = {name: load_arch(name) for name in archs or []}
    if arch_list is not None:
        found.update(read_arch_list(arch_list))
    if not found:
        raise InputError("no architecture to measure: name one, or give --arch-list FILE")
    settings = settings_for(device, batch=batch, threads=threads, dtype=dtype, channels_last=channels_last,
                            compiled=compile, graph=graph)  # fmt: skip
    try:
        with interruptible(screen) as pressed, board(screen) as shown:
            records = measure_and_append(
                out, found, settings, input_hw=None if input is None else size_hw(input), warmup=warmup,
                repeats=repeats, on_step=lambda what, done, of: shown.show(what, "measuring", done, of),
                should_stop=pressed,
            )  # fmt: skip
    except KeyboardInterrupt:
        screen.print(f"stopped at once; {out} has what was finished before", highlight=False, soft_wrap=True)
        raise typer.Exit(130) from None
    if len(records) < len(found) * len(settings):
        screen.print(f"stopped; {out} has {len(records)} of {len(found) * len(settings)} latencies", highlight=False,
                     soft_wrap=True)  # fmt: skip
        raise typer.Exit(130)
    if as_json:
        print_json(records)
        return
    print_table("", [_row(record) for record in records])
    print(out)


def _row(record: dict[str, Any]) -> dict[str, str]:
    height, width = record["input_hw"]
    return {
        "name": record["name"], "input": f"{height}x{width}", "device": record["device"],
        "runtime": record["runtime"], "threads": str(record["threads"]), "batch": str(record["batch"]),
        "dtype": record["dtype"], "layout": "channels last" if record["channels_last"] else "contiguous",
        "median ms": f"{record['median_ms']:.3f}", "IQR": f"{record['iqr_ms']:.3f}", "p95": f"{record['p95_ms']:.3f}",
        "GMACs": f"{record['macs'] / 1e9:.3f}",
    }  # fmt: skip


@app.command("table", epilog="Example: archsearch latency table litepose --resolution 256 --resolution 448")
def latency_table(
    space: Annotated[str, typer.Argument(help="A space that archsearch ships, or a YAML file.")],
    device: OnDevice = "cpu",
    resolution: Annotated[list[int] | None, typer.Option(help="Only this part of the space; may be repeated.")] = None,
    batch: Batch = 1,
    dtype: Dtype = "float32",
    channels_last: ChannelsLast = True,
    graph: Annotated[bool, typer.Option("--graph", help="As CUDA graphs instead of eager.")] = False,
    threads: Threads = 1,
    passes: Annotated[int, typer.Option(help="Times that everything is visited, in an order of its own each.")] = 9,
    repeats: Annotated[int, typer.Option(help="Timed runs of each in a visit.")] = 4,
    noise: Annotated[float, typer.Option(help="What is less certain than this fraction is visited again.")] = 0.05,
    extra_passes: Annotated[int, typer.Option(help="At most so many more passes over what is noisy.")] = 3,
    calibration: Annotated[int, typer.Option(help="Whole networks that correct the sums of blocks.")] = 20,
    held_out: Annotated[int, typer.Option(help="Whole networks that only judge the table.")] = 60,
    out: Annotated[Path | None, typer.Option(help="The table's file; default: named after space and device.")] = None,
    as_json: AsJson = False,
) -> None:
    """Measure each distinct block of a space, and judge the sums on networks that the table never saw.

    Everything is visited for a short moment in every pass, blocks and networks mixed, so that a machine whose speed
    drifts hits all alike. Every visit is a line of the file: a stopped measurement goes on where it was.
    """
    from archsearch.costs.judge import judge
    from archsearch.costs.passes import Plan, make_table
    from archsearch.costs.records import settings_for
    from archsearch.costs.table import Table
    from archsearch.nets.zoo import load_space

    loaded = load_space(space)
    setting = settings_for(device, batch=batch, threads=threads, dtype=dtype, channels_last=channels_last,
                           graph=graph)[0]  # fmt: skip
    path = out or Path(f"latency-table-{loaded.name}-{setting.device}-{setting.runtime}.jsonl")
    plan = Plan(passes, repeats=repeats, noise=noise, extra_passes=extra_passes, calibration=calibration,
                held_out=held_out)  # fmt: skip
    with interruptible(screen) as pressed, board(screen) as shown:
        finished = make_table(path, loaded, setting, plan, resolution or (),
                              lambda what, done, of: shown.show(what, "measuring", done, of), pressed)  # fmt: skip
    if not finished:
        screen.print("stopped; the same command goes on", highlight=False)
        raise typer.Exit(130)
    found = judge(Table(path, loaded, setting))
    if as_json:
        print_json(found)
    else:
        for name, value in found.items():
            print(f"{name}: {value:.4g}" if isinstance(value, float) else f"{name}: {value}")


@app.command("predict", epilog="Example: archsearch latency predict latency-table.jsonl litepose litepose-s")
def latency_predict(
    table: Annotated[Path, typer.Argument(help="A table's file.")],
    space: Annotated[str, typer.Argument(help="The space that it is of.")],
    archs: Annotated[list[str], typer.Argument(help="Known names or YAML files of that space.")],
    as_json: AsJson = False,
) -> None:
    """Latencies of architectures, predicted from the table of their space."""
    from archsearch.costs.table import Table, predict
    from archsearch.nets.zoo import load_arch, load_space

    loaded = Table(table, load_space(space))
    rows = []
    for name in archs:
        arch = load_arch(name)
        if arch not in loaded.space:
            raise InputError(f"{name} is not an architecture of the space {loaded.space.name}, which {table} is of")
        of = {field: loaded.head[field] for field in ("device", "runtime", "threads", "batch", "dtype")}
        rows.append({"name": name, **of, "predicted_ms": round(predict(loaded, arch), 3)})
    if as_json:
        print_json(rows)
    else:
        print_table("predicted, not measured", rows)


@app.command("map", epilog="Example: archsearch latency map --device cpu --device onnxruntime --space litepose")
def latency_map(
    device: Annotated[list[str] | None, typer.Option(help="auto, cpu, cuda, onnxruntime; may be repeated.")] = None,
    space: Annotated[list[str] | None, typer.Option(help="Spaces to sample from; may be repeated.")] = None,
    samples: Annotated[int, typer.Option(help="Architectures of each space.")] = 100,
    zoo: Annotated[list[str] | None, typer.Option(help="Known names instead of all of them; may be repeated.")] = None,
    blocks_of: Annotated[list[str] | None, typer.Option(help="Networks whose blocks are measured one by one.")] = None,
    threads: Threads = 1,
    repeats: Repeats = 15,
    out: Annotated[Path, typer.Option(help="The folder for records, figures and the summary.")] = Path("latency_map"),
    as_json: AsJson = False,
) -> None:
    """Rank correlation of MACs with each latency, by group of networks and by kind of block, as a plot and JSON.

    What the folder has on record is not measured again: the same command goes on, another one adds to it.
    """
    from archsearch.costs.blocks import draw
    from archsearch.costs.latency import check_rounds
    from archsearch.costs.mapping import block_points, summary
    from archsearch.costs.records import check_setting, make_ready, measure_and_append, settings_for
    from archsearch.files import append_jsonl, locked
    from archsearch.nets.zoo import load_arch, load_space, models
    from archsearch.report import latency_map as drawing
    from archsearch.report.style import save, style
    from archsearch.space import fingerprint

    if samples < 1:
        raise InputError(f"--samples {samples}: is less than 1")
    check_rounds(0, repeats)
    settings: dict[str, Setting] = {}  # by runtime, which is what figures and rows are told apart by
    for setting in (s for name in device or ["cpu"] for s in settings_for(name, threads=threads)):
        if settings.setdefault(setting.runtime, setting) != setting:
            raise InputError(
                f"--device: {settings[setting.runtime].device} and {setting.device} are both measured in "
                f"{setting.runtime}; each needs a folder of its own (--out)"
            )
    groups = {"zoo": {name: load_arch(name) for name in zoo or models()}}
    for name in space or []:
        groups[name] = {fingerprint(arch): arch for arch in draw([load_space(name)], samples)}
    parts = {name: load_arch(name) for name in blocks_of or []}
    log = out / "latency.jsonl"
    for setting in settings.values():
        check_setting(log, _mapped(log), setting)
    make_ready(log)
    taken = f"{out}: another process measures this map"
    with locked(log, taken), interruptible(screen) as pressed, board(screen) as shown:
        recorded = _mapped(log)
        for setting in settings.values():
            before = {(r["fingerprint"], r["group"]) for r in _of(recorded, "latency", setting.runtime)}
            for group, archs in groups.items():
                todo = {n: a for n, a in archs.items() if (fingerprint(a), group) not in before}
                measure_and_append(
                    log, todo, [setting], warmup=2, repeats=repeats, extra={"group": group},
                    on_step=partial(_show, shown, group), should_stop=pressed,
                )  # fmt: skip
            for name, arch in parts.items():
                blocks = _of(recorded, "block_latency", setting.runtime)
                if any(r["name"] == name and "id" not in r for r in blocks):
                    continue  # of an older version, which measured all blocks of a network at once
                known = {r["id"] for r in blocks if r.get("fingerprint") == fingerprint(arch)}
                for measured in () if pressed() else block_points(name, arch, setting, known):
                    for record in measured:
                        append_jsonl(log, record)
                    if pressed():
                        break
    if pressed():
        screen.print("stopped; the same command goes on", highlight=False)
        raise typer.Exit(130)
    records = _mapped(log)
    networks = [r for r in records if r["kind"] == "latency"]
    points = [r for r in records if r["kind"] == "block_latency"]
    found = summary(networks, points)
    write_json(out / "latency_map.json", found)
    with style():
        save(drawing.latency_map(networks, points), out / "latency_map")
    if as_json:
        print_json(found)
        return
    for title, rows in found.items():
        if rows:
            print_table(
                title, [{k: f"{v:.3g}" if isinstance(v, float) else str(v) for k, v in r.items()} for r in rows]
            )
    print(out)


def _show(shown: Board, group: str, what: str, done: int, of: int) -> None:
    shown.show(f"{group}, {what}", "measuring", done, of)


def _mapped(log: Path) -> list[dict[str, Any]]:
    """The records of the map in a file that ``latency measure`` may have written to as well."""
    from archsearch.costs.lines import read_latency_lines

    return read_latency_lines(log, mapped=True) if log.exists() else []


def _of(records: list[dict[str, Any]], kind: str, runtime: str) -> list[dict[str, Any]]:
    return [r for r in records if r["kind"] == kind and r["runtime"] == runtime]
