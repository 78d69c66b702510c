"""What the run found, in numbers and named cautions; the template puts them into words."""

from __future__ import annotations

from typing import Any

from reports.estimates import ENOUGH_SEEDS, direction
from reports.sections.data import centre_relation
from reports.sections.synthetic_gain import uses_synthetic

ENOUGH_IMAGES = 100
ENOUGH_PER_CLASS = 10


def verdict_info(
    config: dict[str, Any],
    data: dict[str, Any],
    results: dict[str, Any] | None,
    search: dict[str, Any] | None,
    worth: dict[str, Any] | None = None,
    comparison: dict[str, Any] | None = None,
) -> dict[str, Any]:
    """The verdict.

    Returns
    -------
    dict
        `state`: done (test results) | validated (validation only) | running. `split`: how test
        images relate to training images (see `centre_relation`), or `left_out` with the `centre`,
        or `test_set` (they are another data set).
        `learned`: whether the macro-F1 is above chance (see `thyroid.evaluate.chance`); where it is
        not, nothing else of the verdict counts, and no difference is called a gain, but `luck`.
        `cautions`: names of what the reader must know; the template has a sentence for each.
        `synthetic`: `state` (see `synthetic_state`) and `difference` in macro-F1, with and without.
        `comparison`: with other networks (see `comparison_info`), None where there was none.
    """
    left_out = config.get("recipe", {}).get("split", {}).get("leave_out_centre")
    relation = "test_set" if data.get("test_set") else centre_relation(data)
    info: dict[str, Any] = {
        "searched": search is not None,
        "split": "left_out" if left_out else relation,
        "centre": left_out,
        "synthetic": {
            "state": synthetic_state(config, search, worth, results is None or results["learned"]),
            "difference": worth and worth["difference"],
        },
        "comparison": comparison and comparison["verdict"],
        "enough": {
            "seeds": ENOUGH_SEEDS,
            "images": ENOUGH_IMAGES,
            "images_per_class": ENOUGH_PER_CLASS,
        },
    }
    if results is None:
        return info | {"state": "running", "cautions": []}
    with_images = [c for c in results["per_class"] if c["images"]]
    ranked = sorted(
        (c for c in with_images if c["f1"]), key=lambda c: (-c["f1"]["value"], c["name"])
    )
    fewest = min(with_images, key=lambda c: c["images"])
    values = [s["macro_f1"] for s in results["by_seed"]]
    flagged = {flag["kind"] for flag in data.get("quality", ())}
    cautions = {
        "validation_only": results["part"] != "test",
        "few_seeds": len(values) < ENOUGH_SEEDS,
        "few_images": results["images"] < ENOUGH_IMAGES,
        "few_per_class": fewest["images"] < ENOUGH_PER_CLASS,
        "absent_class": len(with_images) < len(results["per_class"]),
        "no_cross": results["cross_images"] == 0,
        "one_centre": info["split"] in ("one", "none"),
        "same_centres": info["split"] == "same",
        "simulated": bool(data.get("simulated_images")) or "phantom" in (data.get("sources") or {}),
        "unnamed_patients": bool(data.get("unnamed_patients")),
        "look_alikes": bool(data.get("look_alikes")),
        "not_compared": data.get("look_alikes", 0) is None,
        "perhaps_same_patients": bool(data.get("test_set")) and not data["test_set"]["others"],
        "confounded_centre": "confounded_centre" in flagged,
        "legend": "legend" in flagged,
        "weights": bool(config.get("recipe", {}).get("network", {}).get("weights")),
        "display": data.get("kind") == "display",
    }
    return info | {
        "unnamed_patients": data.get("unnamed_patients", 0),
        "state": "done" if results["part"] == "test" else "validated",
        "macro_f1": results["overall"]["macro_f1"],
        "accuracy": results["overall"]["accuracy"],
        "classes": len(with_images),
        "seeds": len(values),
        "seed_range": {"low": min(values), "high": max(values)},
        "images": results["images"],
        "patients": results["patients"],
        "guess": results["guess"],
        "chance": results["chance"],
        "learned": results["learned"],
        "strongest": {"name": ranked[0]["name"], "f1": ranked[0]["f1"]} if ranked else None,
        "weakest": _weakest(ranked[-1], results) if len(ranked) > 1 else None,
        "fewest": {
            "name": fewest["name"],
            "images": fewest["images"],
            "share": 1 / fewest["images"],
        },
        "cautions": [name for name, holds in cautions.items() if holds],
    }


def _weakest(row: dict[str, Any], results: dict[str, Any]) -> dict[str, Any]:
    """The class of lowest F1, and the class that its images are most often taken for."""
    confusion = results["confusion"]
    i = confusion["classes"].index(row["name"])
    others = [(share, j) for j, share in enumerate(confusion["shares"][i]) if j != i and share]
    taken = None
    if others:
        share, j = max(others, key=lambda pair: (pair[0], -pair[1]))
        taken = {"name": confusion["classes"][j], "share": share}
    return {"name": row["name"], "f1": row["f1"], "recall": row["recall"], "taken_for": taken}


def synthetic_state(
    config: dict[str, Any],
    search: dict[str, Any] | None,
    worth: dict[str, Any] | None,
    learned: bool = True,
) -> str | None:
    """Whether synthetic images helped; None where there was no question of them.

    raised | lowered | undecided | luck | selected | few_seeds (see `direction`) | unknown (nothing
    to compare with) | not_chosen (the search found a recipe without)
    """
    if not uses_synthetic(config):
        tried = any("synthetic" in name for name in (search or {}).get("parameters", ()))
        return "not_chosen" if tried else None
    if worth is None:
        return "unknown"
    alone = 0.0  # no family of comparisons, so its interval says it all
    shown = direction(worth["difference"], alone, worth["seeds"], learned, worth["tried"])
    return {"higher": "raised", "lower": "lowered"}.get(shown, shown)


def verdict_line(verdict: dict[str, Any]) -> str:
    """The verdict in one line for a terminal."""
    if verdict["state"] == "running":
        return "no result yet"
    f1, part = verdict["macro_f1"], "test" if verdict["state"] == "done" else "validation"
    seeds = "1 seed" if verdict["seeds"] == 1 else f"mean of {verdict['seeds']} seeds"
    line = (
        f"macro-F1 {f1['value']:.3f} (95 % interval {f1['low']:.3f} to {f1['high']:.3f}) "
        f"on {verdict['images']} {part} images, {seeds}"
    )
    if not verdict["learned"]:
        chance = verdict["chance"]
        luck = f"by luck it would be {chance['macro_f1']:.3f} (p = {chance['p_value']:.2g})"
        return f"nothing was learned: {line}, {luck}"
    gain = verdict["synthetic"]["difference"]
    if gain is not None:
        line += (
            f"; synthetic images make a difference of {gain['value']:+.3f} "
            f"({gain['low']:+.3f} to {gain['high']:+.3f})"
        )
        if verdict["synthetic"]["state"] == "selected":
            line += (
                f", which is open, as these images chose among {verdict['chance']['tried']} recipes"
            )
    compared = verdict["comparison"]
    if compared is not None and "gap" in compared:
        line += f"; {_compared(compared)}"
        tried = compared["tried"]
        if tried["uneven"]:
            line += (
                f"; the method's recipe is the best of {tried['method']} tried, "
                f"each baseline's of {tried['fewest']}"
            )
            if tried["most"] > tried["fewest"]:
                line += f" to {tried['most']}"
    return line


def _compared(compared: dict[str, Any]) -> str:
    gap, best = compared["gap"], f"the best baseline, {compared['best']}"
    size = f"{gap['value']:.3f} ({gap['low']:.3f} to {gap['high']:.3f})"
    if compared["state"] in ("higher", "lower"):
        return f"that is {size} {compared['state']} than {best}"
    verdict = {
        "few_seeds": "too few seeds to tell it from",
        "selected": "open, as these images chose among recipes, is the difference to",
    }.get(compared["state"], "no difference could be shown to")
    return f"{verdict} {best}: {gap['value']:+.3f} ({gap['low']:+.3f} to {gap['high']:+.3f})"
