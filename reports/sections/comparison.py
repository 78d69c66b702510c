"""The method against other networks, and against itself less one of its parts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from reports.estimates import (
    ENOUGH_SEEDS,
    LEVEL,
    RESAMPLES,
    direction,
    estimate,
    gain,
    has_flat_interval,
    probability,
    rounded,
)
from reports.language import later
from reports.paired_predictions import Pair, paired
from reports.run import PredictedRow, Run
from reports.sections.results import confusion_info
from thyroid.evaluate.bootstrap import bootstrap
from thyroid.evaluate.metrics import (
    Floats,
    Ints,
    calibration_error,
    confusion_matrix,
    macro,
    ranking_metrics,
    threshold_metrics,
)
from thyroid.evaluate.paired import Difference, macro_f1_difference
from thyroid.evaluate.significance import McNemar, holm, holm_levels, mcnemar
from thyroid.run_files.predictions_csv import Predictions

ROW_RESAMPLES = 1000
"""For the intervals of each row's metrics; the method's are those of the results."""
DIFFERENCE_RESAMPLES = 10_000
"""For the differences: at Holm's levels their ends lie far out."""
KINDS = ("baseline", "ablation")
TITLES = (
    later("the method"),
    later("no synthetic images"),
    later("eigen-scintigrams instead of the DCGAN"),
    later("bicubic interpolation instead of the SRGAN"),
    later("single images alone, no cross images"),
    later("cross images mixed in from the start"),
    later("cross images' targets without other findings"),
    later("no superposed cross images"),
    later("no x_i"),
    later("x_i from the image"),
    later("x_i from the stem's output"),
    later("x_i from the block's mean"),
)
"""Of rows, beside the names of networks, which are the same in every language."""
METRICS = (
    *("macro_recall", "macro_precision", "macro_specificity", "macro_f1", "macro_auroc"),
    *("accuracy", "ece"),
)
SUBSETS = ("single", "cross")
ABOUT = ("name", "kind", "title", "parameters", "trials", "train_seconds", "epochs")


def comparison_info(run: Run, results: dict[str, Any] | None) -> dict[str, Any] | None:
    """The comparison; None where the run compared nothing.

    Parameters
    ----------
    results
        Of the method, as `results_info` has them.

    Returns
    -------
    dict
        `plan`: every row and what it changes. `tables`: for each kind that has results its `rows`,
        the method first. A row's `difference` is the method's macro-F1 less its own, over the
        seeds that both have, at Holm's level in its table; `state` is what that shows (see
        `direction`). `verdict`: of the baselines (see `comparison_verdict`); `best_confusion`: of
        the best of them, as `confusion_info` has it.

    Raises
    ------
    InputError
        When a row has predicted other images than the method.
    """
    if run.config.get("command") != "compare":
        return None
    plan = [_planned(row, bool(_shared(run, row))) for row in run.rows]
    info: dict[str, Any] = {
        "plan": plan,
        "rows": len(plan),
        "waiting": sum(not row["done"] for row in plan),
        "level": LEVEL,
        "enough_seeds": ENOUGH_SEEDS,
        "tables": [],
        "verdict": {"state": "running"},
        "best_confusion": None,
    }
    if results is None:
        return info
    method = next((row for row in run.rows if row.kind == "method"), None)
    if method is None:
        return info
    info |= {
        "part": results["part"],
        "images": results["images"],
        "patients": results["patients"],
        "resamples": {
            "method": RESAMPLES,
            "row": ROW_RESAMPLES,
            "difference": DIFFERENCE_RESAMPLES,
        },
    }
    for kind in KINDS:
        done = [row for row in run.rows if row.kind == kind and _shared(run, row)]
        if done:
            rows = [_method_row(method, results), *_rows(run, done, results["learned"])]
            info["tables"].append({"kind": kind, "rows": rows})
    levels = [r["difference"]["level"] for t in info["tables"] for r in t["rows"][1:]]
    info["levels"] = {"low": min(levels), "high": max(levels)} if levels else None
    flat_intervals = any(has_flat_interval(r["metrics"]) for t in info["tables"] for r in t["rows"])
    verdict = comparison_verdict(info)
    return info | {
        "flat_intervals": flat_intervals,
        "verdict": verdict,
        "best_confusion": _confusion(run, verdict.get("best")),
    }


def _confusion(run: Run, title: str | None) -> dict[str, Any] | None:
    """How often the baseline of this title takes each class for each, over its seeds."""
    found = [r for r in run.rows if r.kind == "baseline" and r.title == title and r.predictions]
    if not found:
        return None
    matrices = [
        confusion_matrix(p.labels, p.probabilities.argmax(axis=1), len(run.classes))
        for p in found[0].predictions.values()
    ]
    counts = np.sum(matrices, axis=0)
    return {"title": title, "seeds": len(matrices)} | confusion_info(counts, run.classes)


def _planned(row: PredictedRow, done: bool) -> dict[str, Any]:
    changes = [{"field": field, "value": value} for field, value in row.changes.items()]
    return {"name": row.name, "kind": row.kind, "title": row.title, "changes": changes} | {
        "parameters": row.parameters,
        "epochs": row.epochs,
        "done": done,
    }


def _shared(run: Run, row: PredictedRow) -> list[int]:
    """Seeds that both the row and the method have predictions of."""
    if run.part is None:
        return []
    own = run.predictions[run.part]
    return [seed for seed in own if row.kind == "method" or seed in row.predictions]


def _method_row(method: PredictedRow, results: dict[str, Any]) -> dict[str, Any]:
    overall = {name: results["overall"][name] for name in METRICS}
    by_subset = {s["name"]: s["accuracy"] for s in results["subsets"]}
    metrics = overall | {f"{name}_accuracy": by_subset.get(name) for name in SUBSETS}
    return _about(method) | {"seeds": len(results["seeds"]), "metrics": metrics}


def _rows(run: Run, rows: Sequence[PredictedRow], learned: bool) -> list[dict[str, Any]]:
    """The rows of one table, which are one family of comparisons; `learned`: by the method."""
    assert run.part is not None
    own = run.predictions[run.part]
    pairs, differences, tests = [], [], []
    for row in rows:
        pair = paired(
            own,
            row.predictions,
            f"{run.folder / 'rows' / row.name}: its {run.part} images and the method's",
        )
        assert pair is not None
        pairs.append(pair)
        differences.append(_difference(pair))
        tests.append(mcnemar(pair.labels, *map(_together, pair.probabilities)))
    raw = [difference.interval_p_value for difference in differences]
    corrected, levels = holm(raw), holm_levels(raw, LEVEL)
    corrected_tests = holm([test.p_value for test in tests])
    return [
        _about(row)
        | {
            "seeds": len(row.predictions),
            "metrics": _metrics(row.predictions),
            "shared_seeds": len(pairs[i].seeds),
            "difference": gain(differences[i], levels[i]) | {"level": rounded(levels[i])},
            "p_value": probability(corrected[i]),
            "uncorrected_p_value": probability(raw[i]),
            "mcnemar": _mcnemar(tests[i], corrected_tests[i]),
            "state": direction(
                gain(differences[i], levels[i]),
                corrected[i],
                len(pairs[i].seeds),
                learned,
                _tried(run, row),
            ),
        }
        for i, row in enumerate(rows)
    ]


def _tried(run: Run, row: PredictedRow) -> int:
    """Of how many recipes these images chose the method's or the row's; test images chose none."""
    return 1 if run.part == "test" else max(run.tried, row.trials)


def _about(row: PredictedRow) -> dict[str, Any]:
    return {name: getattr(row, name) for name in ABOUT}


def _together(probabilities: Floats) -> Ints:
    """(S, N, C) -> (N,): the class that all seeds' models name together."""
    named: Ints = probabilities.mean(axis=0).argmax(axis=-1)
    return named


def _difference(pair: Pair) -> Difference:
    return macro_f1_difference(
        pair.labels,
        *pair.named,
        pair.patients,
        classes=pair.probabilities[0].shape[-1],
        level=LEVEL,
        resamples=DIFFERENCE_RESAMPLES,
    )


def _mcnemar(test: McNemar, corrected: float) -> dict[str, Any]:
    return {
        "only_method": int(test.only_first),
        "only_row": int(test.only_second),
        "p_value": probability(corrected),
        "uncorrected_p_value": probability(test.p_value),
    }


def _metrics(predictions: dict[int, Predictions]) -> dict[str, Any]:
    """Each of `METRICS` and the accuracy on each of `SUBSETS`, mean over seeds."""
    images = next(iter(predictions.values()))
    labels, patients = images.labels, images.images["patient_id"].to_numpy(dtype=str)
    probabilities = np.stack([p.probabilities for p in predictions.values()])  # (S, N, C)
    right = (probabilities.argmax(axis=-1) == labels).astype(float)  # (S, N)

    def every(weights: Floats) -> dict[str, Floats]:
        rows = [_measured(labels, p, weights) for p in probabilities]
        accuracy = np.einsum("sn,nb->sb", right, weights) / weights.sum(axis=0)
        return {name: np.stack([row[name] for row in rows]) for name in rows[0]} | {
            "accuracy": accuracy
        }

    settings: dict[str, Any] = {"resamples": ROW_RESAMPLES, "level": LEVEL}
    found = bootstrap(every, patients, pivotal=("ece",), **settings)
    metrics = {name: estimate(found[name]) for name in METRICS}
    for name, chosen in (("single", ~images.is_cross), ("cross", images.is_cross)):
        metrics[f"{name}_accuracy"] = (
            _accuracy(right[:, chosen], patients[chosen], settings) if chosen.any() else None
        )
    return metrics


def _measured(labels: Ints, probabilities: Floats, weights: Floats) -> dict[str, Floats]:
    """Of one seed: the macro means and the calibration error, (B,) each."""
    classes = probabilities.shape[1]
    per_class = threshold_metrics(labels, probabilities.argmax(axis=1), classes, weights)
    per_class["auroc"] = ranking_metrics(labels, probabilities, weights)["auroc"]
    means = {f"macro_{name}": macro(values) for name, values in per_class.items()}
    return means | {"ece": calibration_error(labels, probabilities, weights)}


def _accuracy(right: Floats, patients: Any, settings: dict[str, Any]) -> dict[str, float] | None:
    def share(weights: Floats) -> dict[str, Floats]:
        return {"accuracy": np.einsum("sn,nb->sb", right, weights) / weights.sum(axis=0)}

    return estimate(bootstrap(share, patients, **settings)["accuracy"])


def comparison_verdict(info: dict[str, Any]) -> dict[str, Any]:
    """What the comparison with the baselines shows.

    Returns
    -------
    dict
        `state`: running (some baseline has no predictions yet) | none (there is no baseline) |
        higher | lower | undecided | luck | selected | few_seeds (see `direction`), of the method
        against the `best` baseline. `tried`: among how many recipes the `method`'s was chosen, the
        `fewest` and the `most` of a baseline, and whether that is `uneven`: the method's were more.
        `gap`: by how much it is higher or lower, above zero; else the difference. `beaten`:
        baselines that it beats, out of `baselines`; `beaten_by`: those that beat it.
    """
    planned = [row for row in info["plan"] if row["kind"] == "baseline"]
    if not planned:
        return {"state": "none"}
    if not all(row["done"] for row in planned):
        return {"state": "running"}
    method, *rows = next(t["rows"] for t in info["tables"] if t["kind"] == "baseline")
    best = max(rows, key=lambda row: row["metrics"]["macro_f1"]["value"])
    states = [row["state"] for row in rows]
    difference, state = best["difference"], best["state"]
    gap = {name: difference[name] for name in ("value", "low", "high")}
    if state == "lower":
        ends = {"value": "value", "low": "high", "high": "low"}
        gap = {name: -difference[other] for name, other in ends.items()}
    return {
        "state": state,
        "best": best["title"],
        "best_macro_f1": best["metrics"]["macro_f1"],
        "gap": gap,
        "level": difference["level"],
        "p_value": best["p_value"],
        "seeds": best["shared_seeds"],
        "tried": _budgets(method, rows),
        "baselines": len(rows),
        "beaten": states.count("higher"),
        "beaten_by": states.count("lower"),
    }


def _budgets(method: dict[str, Any], baselines: Sequence[dict[str, Any]]) -> dict[str, Any]:
    own = max(1, method["trials"] or 0)
    others = [max(1, row["trials"] or 0) for row in baselines]
    fewest, most = min(others), max(others)
    return {"method": own, "fewest": fewest, "most": most, "uneven": own > fewest}
