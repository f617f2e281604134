"""``archsearch search`` and ``archsearch worker``: find architectures, on one machine or many."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from archsearch.cli.running import ROOT, Events, run_of, stopped
from archsearch.cli.shared import AsJson, Overrides, Resume, RunsFolder, print_json, print_table, screen
from archsearch.progress import board, interruptible

if TYPE_CHECKING:
    from archsearch.experiments.search.study import SearchStudy

app = typer.Typer()

StudyName = Annotated[str, typer.Argument(help="A study that archsearch ships, or a YAML file.")]
Storage = Annotated[
    str | None,
    typer.Option(help="sqlite:///FILE, postgresql://USER@HOST/NAME or journal:FILE; default: in the run's folder."),
]
Workers = Annotated[int | None, typer.Option(min=1, help="Processes on this machine; default: the study's.")]
RESUMED = (
    "trials",
    "workers",
    "beat_s",
    "grace_s",
    "patience_s",
    "budgets",
    "budgets_of",
    "finetune",
    "export",
)  # settings that may differ where a search goes on


@app.command(epilog="Example: archsearch search embedded_search trials=60")
def search(
    study: StudyName,
    overrides: Overrides = None,
    storage: Storage = None,
    workers: Workers = None,
    resume: Resume = False,
    runs: RunsFolder = ROOT,
    as_json: AsJson = False,
) -> None:
    """Search a space for architectures of high AP and low cost, and make models of the best within each budget.

    Trials live in a storage that other machines may share: archsearch worker STUDY --storage URL joins from anywhere.
    Ctrl-C leaves a search that --resume goes on with; trials=N with --resume makes it longer.
    """
    settings = _settings(study, overrides, workers)
    from archsearch.experiments.search.run import resolved, run_search
    from archsearch.experiments.search.workers import check_new
    from archsearch.report.search import write_report

    if not resume and storage is not None:
        check_new(settings, storage)
    with run_of(settings.name, resolved(settings), runs, resume, may_differ=RESUMED) as run:
        with interruptible(screen) as pressed, board(screen) as shown:
            finished = run_search(settings, run, storage=storage, on_event=Events(shown), should_stop=pressed)
        if not finished:
            stopped()
        rows = write_report(run)
    if as_json:
        print_json(rows)
    else:
        print_table(f"{settings.name}: {settings.question}", rows)
        print(run.path / "report.html")


@app.command(epilog="Example: archsearch worker litepose_search --storage postgresql://me@host/search --supernet RUN")
def worker(
    study: StudyName,
    overrides: Overrides = None,
    storage: Annotated[str, typer.Option(help="Where the search's trials are: the URL that it was begun with.")] = "",
    supernet: Annotated[
        Path | None, typer.Option(help="This machine's copy of the run of archsearch supernet.")
    ] = None,
    table: Annotated[
        Path | None, typer.Option(help="The search's latency table, where it has one (RUN/latency_table.jsonl).")
    ] = None,
    workers: Workers = None,
    runs: RunsFolder = ROOT,
) -> None:
    """Join a search from this machine until its trials have ended; the search itself keeps the records."""
    import json

    from archsearch.experiments.search.workers import join

    given = [] if supernet is None else [f"score.run={json.dumps(str(supernet))}", "score.study=null"]
    settings = _settings(study, [*given, *(overrides or [])], workers)
    folder = runs / settings.name / "worker"
    with interruptible(screen) as pressed, board(screen) as shown:
        told: Any = Events(shown)
        finished = join(settings, folder, storage, table, on_event=told, should_stop=pressed)
    if not finished:
        screen.print("stopped; the same command joins again", highlight=False)
        raise typer.Exit(130)


def _settings(study: str, overrides: list[str] | None, workers: int | None) -> SearchStudy:
    from archsearch.settings import find_study, parse, read_study

    path = find_study(study)
    fields = read_study(path, overrides or [])
    fields.pop("data", None)  # a run's own study.yaml says which data its AP is of
    if workers is not None:
        fields["workers"] = workers
    from archsearch.experiments.search.study import SearchStudy

    return parse(SearchStudy, fields, path)
