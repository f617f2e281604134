"""How well a latency table predicts networks that it was not corrected with."""

from __future__ import annotations

from typing import Any

import numpy as np

from archsearch.costs.agreement import fit, interval, kendall, known, mape, spearman
from archsearch.costs.table import Table
from archsearch.files import InputError


def judge(table: Table) -> dict[str, Any]:
    """Rank correlations and errors over the held-out networks, and those of MACs alone, corrected alike. JSON values.

    ``additivity_gap``: by what fraction a network takes longer than the sum of its blocks, the median over them.
    ``repeat_kendall`` and ``repeat_mape``: how the same networks agree with themselves, even passes against odd ones.
    Either half has half of the visits, so that a prediction, which is set against the mean of all of them and is itself
    made of many blocks, may well agree better. ``uncertainty``: standard errors as fractions, the medians. None where
    there are too few networks or passes to tell.
    Raises ``InputError`` where the table has no held-out networks.
    """
    used, held = ([n for n in table.networks if n.role == role] for role in ("calibration", "held-out"))
    if not held:
        raise InputError(f"{table.path}: no held-out networks to judge it by")
    measured = [network.latency_ms for network in held]
    sums = [table.sum_ms(network.arch) for network in held]
    predicted = [table.correction(total) for total in sums]
    macs = [float(network.macs) for network in held]
    by_macs = fit([float(network.macs) for network in used], [network.latency_ms for network in used])
    even, odd = ([network.halves_ms[half] for network in held] for half in (0, 1))
    found = {
        "table": str(table.path),
        **{name: table.head[name] for name in ("space", "device", "runtime", "batch", "threads", "dtype")},
        "blocks": len(table.block_ms),
        "calibration_networks": len(used),
        "held_out_networks": len(held),
        "measured_ms": [min(measured), max(measured)],
        "kendall": kendall(predicted, measured),
        "kendall_95": list(interval(kendall, predicted, measured)),
        "spearman": spearman(predicted, measured),
        "spearman_95": list(interval(spearman, predicted, measured)),
        "mape": mape(predicted, measured),
        "mape_of_plain_sum": mape(sums, measured),
        "additivity_gap": float(np.median([m / s - 1 for m, s in zip(measured, sums, strict=True)])),
        "scale": table.correction.scale,
        "offset_ms": table.correction.offset_ms,
        "macs_kendall": kendall(macs, measured),
        "macs_spearman": spearman(macs, measured),
        "macs_mape": mape([by_macs(m) for m in macs], measured),
        "repeat_kendall": kendall(even, odd),
        "repeat_mape": mape(even, odd),
        "network_uncertainty": float(np.median([network.uncertainty for network in held])),
        "block_uncertainty": float(np.median(list(table.block_uncertainty.values()))),
    }
    return {name: _json(value) for name, value in found.items()}


def _json(value: Any) -> Any:
    if isinstance(value, list):
        return [_json(item) for item in value]
    return known(value) if isinstance(value, float) else value
