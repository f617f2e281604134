"""What becomes a trial: affordable, new, and the same whatever happened before."""

from __future__ import annotations

import numpy as np
import optuna
import pytest
from search import problems

from archsearch.costs.macs import cost
from archsearch.search.driver import Plan, Worker, enqueue
from archsearch.search.proposals import REJECTED, Exhausted, Proposals
from archsearch.search.samplers import KNOWN, maker
from archsearch.space import fingerprint

CHEAP = ("nsga2", "nsga3", "tpe", "random", "assisted", "evolution")


def fingerprints(found: problems.Problem, study: optuna.Study) -> list[str]:
    return [fingerprint(found.parameters.arch(trial.params)) for trial in study.trials]


@pytest.mark.parametrize("sampler", [*CHEAP, "gp"])
def test_every_trial_is_new_and_within_the_limits(sampler: str) -> None:
    half = cost(problems.problem().space.largest()).macs / 3
    found = problems.problem(macs=half)
    study = problems.searched(found, sampler, 1, 24 if sampler != "gp" else 22)
    names = fingerprints(found, study)
    assert len(set(names)) == len(names)
    for trial in study.trials:
        assert set(trial.params) == set(found.parameters.distributions)
        assert trial.values[1] <= half
        assert trial.constraints == {"macs": trial.values[1] - half}
    if sampler not in ("assisted", "evolution"):  # which look at costs themselves
        assert sum(trial.system_attrs[REJECTED]["cost"] for trial in study.trials) > 0


@pytest.mark.parametrize("sampler", CHEAP)
def test_a_search_goes_on_as_if_it_had_not_stopped(sampler: str) -> None:
    found = problems.problem()
    whole = problems.searched(found, sampler, 3, 26)
    parts = problems.study(found, sampler, 3)
    for until in (7, 18, 26):
        parts.sampler = Proposals(found.parameters, maker(sampler, {}, found), found.costing.fits, 3)
        while len(parts.trials) < until:
            trial = parts.ask(found.parameters.distributions)
            arch = found.parameters.arch(trial.params)
            parts.tell(trial, [problems.ap(found, arch), found.costing(arch)["macs"]])
    assert fingerprints(found, parts) == fingerprints(found, whole)
    other = problems.searched(found, sampler, 4, 26)
    assert fingerprints(found, other) != fingerprints(found, whole)


def test_a_tight_limit_is_met_by_going_towards_the_smallest() -> None:
    """One in forty random architectures fits; what does not costs no trial."""
    found = problems.problem()
    rng = np.random.default_rng(0)
    drawn = sorted(found.costing(found.space.sample(rng))["macs"] for _ in range(400))
    tight = problems.problem(macs=drawn[10])
    study = problems.searched(tight, "random", 0, 6)
    assert all(trial.values[1] <= drawn[10] for trial in study.trials)


def test_a_space_that_is_used_up_ends_the_search() -> None:
    smallest = cost(problems.problem().space.smallest()).macs
    found = problems.problem(macs=smallest)
    study = problems.study(found, "random", 0)
    trial = study.ask(found.parameters.distributions)
    study.tell(trial, [0.1, smallest])
    with pytest.raises(Exhausted, match="every affordable architecture of tiny is evaluated"):
        study.ask(found.parameters.distributions)
    again = problems.searched(found, "random", 0, 5)
    assert [t.state.name for t in again.trials].count("COMPLETE") == 1


def test_a_small_space_is_searched_to_its_last_architecture() -> None:
    every = list(problems.problem().space.every())
    assert len(every) == problems.problem().space.size == len(set(every))
    macs = sorted(problems.problem().costing(arch)["macs"] for arch in every)
    found = problems.problem(macs=macs[24])
    affordable = {arch for arch in every if found.costing.fits(arch)}
    study = problems.searched(found, "random", 0, len(affordable) + 3)
    assert {found.parameters.arch(t.params) for t in study.trials if t.state.name == "COMPLETE"} == affordable


def test_samplers_by_import_path_and_what_is_wrong_with_them() -> None:
    found = problems.problem()
    make = maker("optuna.samplers.NSGAIISampler", {"population_size": 7}, found)
    assert make(0).population_size == 7  # type: ignore[attr-defined]
    assert set(KNOWN) == {"nsga2", "nsga3", "tpe", "gp", "random", "assisted", "evolution"}
    for name, options, message in (
        ("nsga4", {}, "'nsga4' is not one of"),
        ("optuna.samplers.Nsga", {}, "has no attribute"),
        ("no.such.module.Sampler", {}, "No module named"),
        ("optuna.pruners.NopPruner", {}, "is not a class of Optuna samplers"),
        ("nsga2", {"population": 9}, "options.population: NSGAIISampler has no such option"),
        ("nsga2", {"population_size": 1}, "greater than or equal to 2"),
        ("nsga2", {"seed": 1}, "seeds come from"),
        ("assisted", {"startup": 0}, "startup 0 is less than 1"),
    ):
        with pytest.raises(ValueError, match=message):
            maker(name, options, found)


def test_assisted_looks_beyond_the_dearest_known() -> None:
    """Where larger is better, what costs more than all that was evaluated is worth a trial."""
    found = problems.problem()
    study = problems.study(found, "assisted", 0)
    largest = found.costing(found.space.largest())["macs"]
    archs = sorted((found.space.sample(np.random.default_rng(i)) for i in range(60)), key=lambda a: found.costs(a)[0])
    enqueue(study, found.parameters, list(dict.fromkeys(archs))[:16], 0)
    score = lambda arch, _, __: {"ap": found.costing(arch)["macs"] / largest}  # noqa: E731
    assert Worker(study, Plan(16), found, score).run()
    known = max(t.values[1] for t in study.trials)
    assert Worker(study, Plan(24), found, score).run()
    assert max(t.values[1] for t in study.trials) > 1.2 * known


def test_assisted_proposes_another_one_where_its_first_is_taken() -> None:
    """Asked again for the same trial it goes on, and never names what another worker evaluates just now."""
    found = problems.problem()
    study = problems.searched(found, "assisted", 0, 18)
    first, second = (study.ask(found.parameters.distributions) for _ in range(2))
    names = [fingerprint(found.parameters.arch(trial.params)) for trial in (first, second)]
    assert len({*names, *fingerprints(found, study)[:18]}) == 20
    assert study.trials[-1].system_attrs[REJECTED]["known"] == 0
    sampler = maker("assisted", {}, found)(5)
    space = found.parameters.distributions
    asked = [sampler.sample_relative(study, study.trials[-1], space) for _ in range(2)]
    assert asked[0] != asked[1]
