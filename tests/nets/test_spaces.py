"""One suite for every space that is shipped: a new YAML file in search_spaces/ is held to all of it at once."""

from __future__ import annotations

import functools
import itertools
import math
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from archsearch.costs.fast import CostModel
from archsearch.costs.sketch import sketch
from archsearch.costs.spaces import check_held, ends
from archsearch.experiments.shrink import ShrinkStudy
from archsearch.files import InputError, read_yaml, resources
from archsearch.nets.litepose import LitePose
from archsearch.nets.zoo import Arch, arch_yaml, as_arch, is_bottom_up, load_arch, load_space, models
from archsearch.probe import Probe
from archsearch.space import Space, fingerprint, from_plain, to_plain

FILES = sorted(resources("search_spaces").glob("*.yaml"))
NAMES = [path.stem for path in FILES]
load = functools.cache(load_space)


@functools.cache
def cost_model(name: str) -> CostModel:
    return CostModel(load(name))


every_space = pytest.mark.parametrize("name", NAMES)


def samples(space: Space[Arch], count: int, seed: int = 0) -> list[Arch]:
    rng = np.random.default_rng(seed)
    return [space.sample(rng) for _ in range(count)]


@every_space
def test_files_say_what_they_are(name: str) -> None:
    text = (resources("search_spaces") / f"{name}.yaml").read_text()
    assert re.match(r"(# .+\n)+kind: ", text)
    assert "CVPR" in text or "for the embedded scenes" in text
    assert max(map(len, text.splitlines())) <= 120


@every_space
def test_round_trips(name: str) -> None:
    space = load(name)
    for arch in (space.smallest(), *samples(space, 40)):
        assert arch in space
        assert from_plain(Arch, to_plain(arch)) == arch
        choices = space.choices(arch)
        assert space.build(choices) == arch
        assert {hole.path for hole in space.holes} >= choices.keys()
    for arch in samples(space, 3):
        assert as_arch(yaml.safe_load(arch_yaml(arch))) == arch


@every_space
def test_samples_mutations_and_crossovers_stay_inside(name: str) -> None:
    space, rng = load(name), np.random.default_rng(1)
    for a, b in itertools.pairwise(samples(space, 40, seed=2)):
        for rate in (0.0, 0.1, 1.0):
            mutated = space.mutate(a, rng, rate)
            assert mutated in space
            assert mutated != a
        child = space.choices(space.crossover(a, b, rng))
        ours, theirs = space.choices(a), space.choices(b)
        assert all(value in (ours.get(path), theirs.get(path)) for path, value in child.items())


@every_space
def test_every_option_of_every_hole_is_reached(name: str) -> None:
    space = load(name)
    for hole in space.holes:
        for option in hole.options:

            def pick(path: str, options: tuple[Any, ...], hole: Any = hole, option: Any = option) -> Any:
                usual = max(options) if path.endswith("/times") else options[-1]
                return option if path == hole.path else usual

            arch = space.fill(pick)
            assert space.choices(arch)[hole.path] == option
    seen: dict[str, list[Any]] = {hole.path: [] for hole in space.holes}
    for arch in samples(space, 400):
        for path, value in space.choices(arch).items():
            seen[path].append(value)
    shallow = [hole for hole in space.holes if not re.search(r"/blocks/\d+/|/branches/\d+/\d+/", hole.path)]
    for hole in shallow:  # those that every architecture reaches, drawn uniformly: 5 standard deviations
        share = 1 / len(hole.options)
        slack = 5 * math.sqrt(share * (1 - share) / 400)
        assert all(abs(seen[hole.path].count(option) / 400 - share) < slack for option in hole.options), hole


@every_space
def test_canonical_form(name: str) -> None:
    """Whatever stands in holes that are not reached, the architecture and its fingerprint are the same."""
    space, rng = load(name), np.random.default_rng(3)
    archs = samples(space, 30, seed=4)
    for arch in archs:
        canonical = space.choices(arch)
        others = {hole.path: hole.options[rng.integers(len(hole.options))] for hole in space.holes}
        again = space.build({**others, **canonical})
        assert again == arch
        assert space.choices(again) == canonical
        assert fingerprint(again) == fingerprint(arch)
    assert len({fingerprint(arch) for arch in archs}) == len(set(archs))


def counted(space: Space[Arch]) -> int:
    """The size from the holes alone: of a list of elastic length the sum over its lengths, else the product."""
    tree: dict[str, Any] = {}
    for hole in space.holes:
        node = tree
        *above, last = hole.path.strip("/").split("/")
        for part in above:
            node = node.setdefault(part, {})
        node[last] = hole.options

    def count(node: Any) -> int:
        if isinstance(node, tuple):
            return len(node)
        products = {key: count(value) for key, value in node.items() if key != "times"}
        if "times" not in node:
            return math.prod(products.values())
        return sum(math.prod(products.get(str(i), 1) for i in range(n)) for n in node["times"])

    return count(tree)


DEEP = 12**4 + 12**6 + 12**8  # blocks of 4 kernels and 3 expansions
FINE, COARSEST = sum(4**n for n in range(5)), sum(4**n for n in range(1, 5))  # branches of up to 4 blocks of 4 kernels
SIZES = {
    "litepose": 5 * 3 * 4**4 * 4**3,
    "litepose_wide": 5 * 3 * 4**4 * (4 * 5 * 4 * 2 * 3) * (12**2 + 12**4 + 12**6) * DEEP * (DEEP + 12**10) ** 2,
    "hrnet_shrink": 3 * 3 * 4 * 5 ** (2 + 3 + 4),
    "lite_hrnet": 3 * 3**3 * (3 + 3**2 + 3**3) ** (2 + 3 + 4),
    "pose_unified": 5 * 3**4 * (2 * 3 * 3) * 3**3 * 3 * 3 * FINE ** (1 + 2 + 3) * COARSEST**3 * (2 * 3),
    "embedded_litepose": 3 * 2 * 3**4 * (2**3 * 2) * (6 + 6**2 + 6**3) ** 4,
    "embedded_hrnet_shrink": 3 * 3 * 5 ** (2 + 3 + 4),
    "embedded_lite_hrnet": 2 * (2 * 2) * 3**2 * 2 * (2 + 2**2) ** (2 + 3),
    "embedded_unified": 3 * 3**3 * (2 * 2) * 3**2 * 2 * 2 * (1 + 2 + 4) ** 3 * (2 + 4) ** 2,
}


@every_space
def test_size(name: str) -> None:
    space = load(name)
    assert space.size == counted(space)
    if name in SIZES:
        assert space.size == SIZES[name]


@every_space
def test_one_network_holds_all_of_it(name: str) -> None:
    """Its ends, every option on its own and random architectures run on the shape-only network of the largest one."""
    space = load(name)
    held = check_held(space, samples=8)
    assert held.options == sum(len(hole.options) for hole in space.holes)
    assert held.lowest_macs < held.highest_macs


@every_space
def test_smallest_and_largest_build_and_run(name: str) -> None:
    """On shapes only: the network of the largest architecture run at each end, and each end's own network."""
    space, model = load(name), cost_model(name)
    found = ends(space, model)
    supernet = sketch(space.largest())
    for end in found:
        arch = end.arch
        height, width = arch.input_hw
        shapes = [[m.shape for m in net(Probe((1, 3, height, width), []), arch)] for net in (supernet, sketch(arch))]
        if is_bottom_up(arch):
            expected = [(1, 2 * arch.joints, height // 4, width // 4), (1, arch.joints, height // 2, width // 2)]
        else:
            expected = [(1, arch.joints, height // 4, width // 4)]
        assert shapes == [expected, expected]
    smallest, largest = ([end.cost for end in found if end.name.startswith(word)] for word in ("smallest", "largest"))
    assert all(low.macs < high.macs and low.params < high.params for low, high in zip(smallest, largest, strict=True))


# ----------------------------------------------------------------------------------------------- what they are to hold


INSIDE = {
    "litepose": ["litepose-prune-l", "litepose-prune-s", "litepose-s", "litepose-xs"],
    "litepose_wide": [name for name in models() if name.startswith("litepose-")],
    "hrnet_shrink": [name for name in models() if name.endswith(("baseline", "shrink1", "shrink2", "shrink3"))],
    "pose_unified": [name for name in models() if name.endswith(("baseline", "shrink1", "shrink2", "shrink3"))],
    "lite_hrnet": ["litehrnet-18", "naive-litehrnet-18", "wider-naive-litehrnet-18"],
}


@every_space
def test_published_architectures_are_inside(name: str) -> None:
    space = load(name)
    assert [model for model in models() if load_arch(model) in space] == INSIDE.get(name, [])


def test_the_embedded_study_is_inside_its_space() -> None:
    study = ShrinkStudy.model_validate(read_yaml(resources("studies") / "gradual_shrinking.yaml"))
    archs = study.architectures(17)
    space = load("embedded_hrnet_shrink")
    assert len(archs) == 4
    assert all(arch in space for arch in archs.values())


@pytest.mark.parametrize("name", [name for name in NAMES if name.startswith("embedded_")])
def test_embedded_spaces_are_small(name: str) -> None:
    space = load(name)
    model = cost_model(space.name)
    macs = sorted(model(arch).macs for arch in samples(space, 60))
    assert space.largest().joints == 17
    assert max(space.largest().input_hw) <= 96  # of the pictures that the studies draw
    assert macs[30] < 60e6
    assert model(space.smallest()).macs < 30e6


def test_embedded_litepose_spans_the_budgets_of_a_laptop() -> None:
    """8 to 60 MMACs at 96 pixels, whatever the resolution that was drawn."""
    space = load("embedded_litepose")
    model = cost_model(space.name)
    ends_ = [space.smallest(), space.largest(), *samples(space, 50)]
    macs = [model(arch, (96, 96)).macs for arch in ends_]
    assert 8e6 < min(macs) < 12e6
    assert 50e6 < max(macs) < 60e6
    assert all(isinstance(arch, LitePose) and arch.resolution % arch.stride == 0 for arch in ends_)


# ------------------------------------------------------------------------------------------------ what is refused


def write(tmp_path: Path, change: dict[str, Any]) -> Path:
    plain = read_yaml(resources("search_spaces") / "embedded_unified.yaml")
    path = tmp_path / "mine.yaml"
    path.write_text(yaml.safe_dump({**plain, **change}))
    return path


def branches(times: list[int]) -> list[dict[str, Any]]:
    return [{"repeat": {"kernel": 3}, "times": times}, {"repeat": {"kernel": 3}, "times": [1, 2]}]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"stages": [{"modules": 1, "kind": {"choice": ["shuffle", "weighting"]}, "branches": branches([0, 1])}]},
            "0 blocks at /stages/0/branches/0/times: such a branch uses the first basic block's convolution, and "
            "stage 0 can only be shuffle|weighting",
        ),
        ({"joints": {"choice": [14, 17]}}, "a hole at /joints: one network has one number of joints"),
        (
            {"stages": {"repeat": {"modules": 1, "branches": branches([1])}, "times": [1, 2]}},
            "a hole at /stages/times: one network has one number of joints, of stages and of branches",
        ),
        (
            {"stages": [{"modules": 1, "branches": {"repeat": branches([1])[0], "times": [1, 2]}}]},
            "a hole at /stages/0/branches/times",
        ),
        ({"widths": [8, {"choice": [16, 17, 24]}, 32]}, "width 17 is odd: shuffle blocks of stage 0 halve it at /"),
        ({"input_hw": {"choice": [[64, 64], [96, 100]]}}, "input 96x100 is not a multiple of 16"),
    ],
)
def test_spaces_that_no_single_network_holds(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    path = write(tmp_path, change)
    with pytest.raises(InputError, match=f"^{re.escape(str(path))}: .*{re.escape(message)}"):
        load_space(path)


def test_a_branch_that_is_always_empty_needs_no_residual_blocks(tmp_path: Path) -> None:
    stage = {"modules": 1, "kind": "shuffle", "branches": [[], *branches([1])[1:]]}
    space = load_space(write(tmp_path, {"stages": [stage]}))
    assert check_held(space, samples=8).lowest_macs > 0
