"""Whether stated probabilities can be believed: temperature, reliability, credible sets."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from reports.estimates import LEVEL, RESAMPLES, estimate, has_flat_interval, rounded
from reports.run import Run
from thyroid.evaluate.bootstrap import bootstrap
from thyroid.evaluate.conformal import conformal_set, conformal_threshold
from thyroid.evaluate.metrics import Floats, Ints, calibration_error, log_loss, reliability
from thyroid.evaluate.temperature import fit_temperature, tempered

CREDIBLE_LEVEL = 0.95
"""Share of images whose class a credible set shall hold."""


def calibration_info(run: Run) -> dict[str, Any] | None:
    """Calibration fitted on validation images, measured on test images; means over seeds.

    Returns
    -------
    dict
        None where nothing has been predicted; else `state`: no_test (validation images are the only
        ones, and no judge of what was fitted on them) | done. `rows`: calibration error and log
        loss as trained and tempered. `curves`: for each, the occupied bins of all seeds together.
        `sets`: conformal sets of credible classes.
    """
    validation, test = run.predictions["validation"], run.predictions["test"]
    if not test:
        return {"state": "no_test"} if validation else None
    seeds = [seed for seed in test if seed in validation]
    if not seeds:
        return None
    first = test[seeds[0]]
    labels, patients = first.labels, first.images["patient_id"].to_numpy(dtype=str)
    known = validation[seeds[0]].labels
    temperatures, thresholds, scaled, sets = [], [], [], []
    for seed in seeds:
        fitted_on = validation[seed].probabilities
        temperature = fit_temperature(known, fitted_on)
        threshold = conformal_threshold(known, tempered(fitted_on, temperature), CREDIBLE_LEVEL)
        temperatures.append(temperature)
        thresholds.append(threshold)
        scaled.append(tempered(test[seed].probabilities, temperature))
        sets.append(conformal_set(scaled[-1], threshold))
    ways = {"trained": [test[seed].probabilities for seed in seeds], "tempered": scaled}
    info = {
        "state": "done",
        "level": LEVEL,
        "resamples": RESAMPLES,
        "validation_images": len(known),
        "images": len(labels),
        "seeds": len(seeds),
        "temperature": {
            "mean": rounded(np.mean(temperatures)),
            "low": rounded(min(temperatures)),
            "high": rounded(max(temperatures)),
        },
        "rows": [{"name": name} | _errors(labels, p, patients) for name, p in ways.items()],
        "curves": {name: _curve(labels, p) for name, p in ways.items()},
        "sets": {"level": CREDIBLE_LEVEL} | _sets(labels, np.stack(sets), patients),
        "by_seed": [
            {"seed": seed, "temperature": rounded(t), "threshold": rounded(min(q, 1.0))}
            for seed, t, q in zip(seeds, temperatures, thresholds, strict=True)
        ],
    }
    return info | {"flat_intervals": has_flat_interval([info["rows"], info["sets"]])}


def _errors(labels: Ints, probabilities: Sequence[Floats], patients: Any) -> dict[str, Any]:
    """`ece` and `log_loss`, mean over seeds."""

    def statistic(weights: Floats) -> dict[str, Floats]:
        return {
            "ece": np.stack([calibration_error(labels, p, weights) for p in probabilities]),
            "log_loss": np.stack([log_loss(labels, p, weights) for p in probabilities]),
        }

    found = bootstrap(statistic, patients, resamples=RESAMPLES, level=LEVEL, pivotal=("ece",))
    return {name: estimate(interval) for name, interval in found.items()}


def _curve(labels: Ints, probabilities: Sequence[Floats]) -> list[dict[str, float]]:
    """Each bin of confidence: mean confidence and accuracy of its images, all seeds together."""
    together: dict[float, list[Any]] = {}
    for p in probabilities:
        for found in reliability(labels, p):
            if found.images:
                together.setdefault(found.low, []).append(found)
    total = len(labels) * len(probabilities)
    curve = []
    for low in sorted(together):
        bins, images = together[low], np.array([b.images for b in together[low]])
        curve.append(
            {
                "low": rounded(low),
                "high": rounded(bins[0].high),
                "share": rounded(images.sum() / total),
                "confidence": rounded(np.average([b.confidence for b in bins], weights=images)),
                "accuracy": rounded(np.average([b.accuracy for b in bins], weights=images)),
            }
        )
    return curve


def _sets(labels: Ints, credible: np.ndarray[Any, Any], patients: Any) -> dict[str, Any]:
    """(S, N, C) -> how often the sets hold the class, and how many classes they hold."""
    sizes = credible.sum(axis=-1)  # (S, N)
    shares = {
        "coverage": np.take_along_axis(credible, labels[None, :, None], axis=-1)[..., 0],
        "size": sizes,
        "one": sizes == 1,
        "several": sizes > 1,
        "none": sizes == 0,
    }

    def statistic(weights: Floats) -> dict[str, Floats]:
        total = weights.sum(axis=0)
        return {
            name: np.einsum("sn,nb->sb", values.astype(float), weights) / total
            for name, values in shares.items()
        }

    ranges = dict.fromkeys(shares, (0.0, 1.0)) | {"size": (0.0, float(credible.shape[-1]))}
    found = bootstrap(statistic, patients, resamples=RESAMPLES, level=LEVEL, ranges=ranges)
    return {name: estimate(interval) for name, interval in found.items()}
