"""The notebooks run as they stand, in little time, and hold nothing that belongs in the package."""

from __future__ import annotations

import ast
import os
import sys
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

import archsearch

NOTEBOOKS = sorted((Path(__file__).parents[2] / "notebooks").glob("*.ipynb"))
NAMES = [path.stem for path in NOTEBOOKS]


def test_there_are_three() -> None:
    assert NAMES == ["1_gradual_shrinking", "2_search_litepose", "3_pareto_curves"]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=NAMES)
def test_a_notebook_runs(path: Path, tmp_path: Path) -> None:
    """In an empty folder, with the commands of this installation."""
    book = nbformat.read(path, as_version=4)
    own = str(Path(sys.executable).parent)
    environment = {**os.environ, "PATH": f"{own}{os.pathsep}{os.environ.get('PATH', '')}", "OMP_NUM_THREADS": "1"}
    environment |= {"ARCHSEARCH_CACHE": str(tmp_path / "cache"), "IPYTHONDIR": str(tmp_path / ".ipython")}
    client = NotebookClient(book, timeout=900, kernel_name="python3", resources={"metadata": {"path": str(tmp_path)}})
    client.execute(env=environment)
    codes = [cell for cell in book.cells if cell.cell_type == "code"]
    pictures = [output for cell in codes for output in cell.outputs if "image/png" in output.get("data", {})]
    tables = [
        output for cell in codes for output in cell.outputs if "<table" in output.get("data", {}).get("text/html", "")
    ]
    assert pictures, "no figure"
    assert tables, "no table"


@pytest.mark.parametrize("path", NOTEBOOKS, ids=NAMES)
def test_a_notebook_is_short_and_defines_nothing(path: Path) -> None:
    book = nbformat.read(path, as_version=4)
    nbformat.validate(book)
    codes = [cell for cell in book.cells if cell.cell_type == "code"]
    assert book.cells[0].cell_type == "markdown"
    assert len(codes) <= 12
    for cell in codes:
        assert cell.outputs == [], "outputs are not kept: they hold paths and figures of one machine"
        assert cell.execution_count is None
        if cell.source.startswith("%%"):
            continue
        for node in ast.walk(ast.parse(cell.source)):
            assert not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef | ast.Lambda), cell.source
            if isinstance(node, ast.ImportFrom):
                assert not any(alias.name.startswith("_") for alias in node.names), cell.source
            if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "archsearch":
                assert node.attr in archsearch.__all__, f"archsearch.{node.attr} is not a public name"
