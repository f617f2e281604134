"""The command line. Every command is a thin layer over the library; what it imports, it imports when it runs."""

from __future__ import annotations

import os
import sys

import typer

from archsearch.cli import architectures, costs, data, pareto, search, spaces, studies, supernets, trained, weights
from archsearch.cli.shared import screen
from archsearch.files import InputError
from archsearch.jobs import JobFailed

app = typer.Typer(
    name="archsearch",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    help="Architecture search and shrinking studies for 2D human pose estimation.",
)
app.add_typer(data.app, name="data")
app.add_typer(costs.app, name="latency")
app.add_typer(spaces.app, name="space")
app.add_typer(supernets.group, name="supernet")
for part in (architectures, studies, supernets, search, trained, pareto, weights):
    app.registered_commands += part.app.registered_commands


def main() -> None:
    """Run the command line: bad input is one clear line and exit code 2, ARCHSEARCH_DEBUG=1 shows where it arose."""
    try:
        app()
    except KeyboardInterrupt:
        screen.print("stopped")
        sys.exit(130)
    except (InputError, ValueError, JobFailed, OSError) as error:
        if os.environ.get("ARCHSEARCH_DEBUG"):
            raise
        words = str(error)
        if isinstance(error, OSError) and error.strerror:
            words = f"{error.filename}: {error.strerror}" if error.filename else error.strerror
        screen.print(f"error: {words}", style="bold red", markup=False, highlight=False, soft_wrap=True)
        sys.exit(1 if isinstance(error, JobFailed) else 2)
