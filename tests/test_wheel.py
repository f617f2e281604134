"""What is installed works without the checkout: a built wheel, in an empty folder."""

import os
import subprocess
import sys
import zipfile
from pathlib import Path

REPOSITORY = Path(__file__).parent.parent
SCRIPT = """
import archsearch, archsearch.cli
from archsearch.settings import find_study, studies
assert archsearch.__file__.startswith({where!r}), archsearch.__file__
assert "litepose-s" in archsearch.models()
assert archsearch.cost("higherhrnet-w18-shrink3").params == 7375166
assert find_study("gradual_shrinking").is_file() and len(studies()) >= 4
archsearch.cli.main()
"""


def test_a_wheel_brings_spaces_and_studies_along(tmp_path: Path) -> None:
    wheels, unpacked, empty = tmp_path / "wheels", tmp_path / "unpacked", tmp_path / "empty"
    empty.mkdir()
    build = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation", "--no-index"]
    subprocess.run([*build, "--wheel-dir", str(wheels), str(REPOSITORY)], check=True, capture_output=True)
    (wheel,) = wheels.glob("archsearch-*.whl")
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
        archive.extractall(unpacked)
    assert "archsearch/py.typed" in names
    assert not any(name.startswith(("tests/", "benchmarks/")) for name in names)
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT.format(where=str(unpacked)), "profile", "litepose-xs", "--json"],
        cwd=empty,
        env={**os.environ, "PYTHONPATH": str(unpacked)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert '"params": 1675552' in done.stdout
    assert list(empty.iterdir()) == []
