"""The publication's claims, one by one, beside what this run obtained on other data.

Wang Ke and Zhang Genyao, Diagnosis of thyroid SPECT image based on ResNet model, Journal of Hebei
University of Science and Technology 41(3):242-248, 2020; of which only the abstract is available.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from reports.estimates import ENOUGH_SEEDS, rounded

EPOCHS = 100
VALIDATION = (("validation_accuracy", 0.9633), ("validation_loss", 0.1187))
AT_LEAST = 0.938
METRICS = ("recall", "precision", "specificity", "f1")
LOSS_ALLOWED = 0.02
"""Loss of accuracy on single images that still counts as keeping what was learned."""


def claims_info(
    config: dict[str, Any],
    training: dict[str, Any] | None,
    results: dict[str, Any] | None,
    comparison: dict[str, Any] | None,
    worth: dict[str, Any] | None,
    synthetic_state: str | None,
    forgetting: dict[str, Any] | None,
) -> dict[str, Any] | None:
    """A row for each claim; None where the recipe does not train single images first, then crosses.

    Returns
    -------
    dict
        Each row of `rows` has `state`: yes | no | open (this run cannot tell) | missing (it was not
        measured). `validation`: accuracy and loss after the last epoch, mean and range over seeds.
        `metrics`: macro mean and lowest class. `better`, `enlarged`, `kept`: the other claims.
    """
    if config.get("recipe", {}).get("cross", {}).get("order") != "retrain":
        return None
    return {
        "claimed_epochs": EPOCHS,
        "at_least": AT_LEAST,
        "loss_allowed": LOSS_ALLOWED,
        "part": results and results["part"],
        "validation": [_validation(name, claimed, training) for name, claimed in VALIDATION],
        "metrics": [_metric(name, results) for name in METRICS],
        "better": _better(comparison),
        "enlarged": {
            "state": {
                "raised": "yes",
                "lowered": "no",
                "undecided": "open",
                "luck": "open",
                "selected": "open",
                "few_seeds": "open",
            }.get(synthetic_state or "", "missing")
            if config["recipe"].get("generator", "dcgan") == "dcgan"
            else "missing",
            "difference": worth and worth["difference"],
            "level": worth and worth["level"],
        },
        "kept": _kept(forgetting, results is None or results["learned"]),
    }


def _validation(name: str, claimed: float, training: dict[str, Any] | None) -> dict[str, Any]:
    """Accuracy is to be as high at least, loss as low at most: yes or no where all seeds agree."""
    row = {"name": name, "claimed": claimed, "state": "missing"}
    last = [s["last"] for s in (training or {"seeds": []})["seeds"]]
    values = [epoch[name] for epoch in last if epoch[name] is not None]
    if not values:
        return row
    reached = [v >= claimed if name == "validation_accuracy" else v <= claimed for v in values]
    return row | {
        "state": "yes" if all(reached) else "open" if any(reached) else "no",
        "mean": rounded(np.mean(values)),
        "low": rounded(min(values)),
        "high": rounded(max(values)),
        "seeds": len(values),
        "epochs": max(epoch["epoch"] for epoch in last),
    }


def _metric(name: str, results: dict[str, Any] | None) -> dict[str, Any]:
    """`all above`, said of a metric, is said of its lowest class."""
    rows = [c for c in (results or {"per_class": []})["per_class"] if c[name]]
    if results is None or not rows:
        return {"name": name, "state": "missing"}
    lowest = min(rows, key=lambda c: (c[name]["value"], c["name"]))
    low, high = lowest[name]["low"], lowest[name]["high"]
    return {
        "name": name,
        "state": "yes" if low > AT_LEAST else "no" if high < AT_LEAST else "open",
        "macro": results["overall"][f"macro_{name}"],
        "lowest": {"class": lowest["name"], "estimate": lowest[name]},
    }


def _better(comparison: dict[str, Any] | None) -> dict[str, Any]:
    """Better than every network that it was compared with."""
    verdict = (comparison or {"verdict": {"state": "none"}})["verdict"]
    if verdict["state"] in ("none", "running"):
        return {"state": "missing"}
    every = verdict["beaten"] == verdict["baselines"]
    state = "yes" if every else "no" if verdict["beaten_by"] else "open"
    return {"state": state} | {name: verdict[name] for name in ("beaten", "beaten_by", "baselines")}


def _kept(forgetting: dict[str, Any] | None, learned: bool) -> dict[str, Any]:
    """Kept: a loss of more than `LOSS_ALLOWED` is ruled out. Learned: a gain is shown, and the
    networks know anything at all. Open where the same images chose the recipe.
    """
    rows = {row["name"]: row["change"] for row in (forgetting or {"rows": []})["rows"]}
    if forgetting is None or set(rows) != {"single", "cross"}:
        return {"state": "missing"}
    single, cross = rows["single"], rows["cross"]
    state = "open"
    if single["low"] > -LOSS_ALLOWED and cross["low"] > 0:
        state = "yes"
    if single["high"] < -LOSS_ALLOWED or cross["high"] < 0:
        state = "no"
    selected = forgetting["tried"] > 1
    if forgetting["seeds"] < ENOUGH_SEEDS or selected or (state == "yes" and not learned):
        state = "open"
    return {"state": state, "single": single, "cross": cross, "level": forgetting["level"]}
