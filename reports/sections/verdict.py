"""The verdict: what the run found, in numbers and named cautions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from reports.estimates import ENOUGH_NETWORKS, Estimate, Range, direction, rounded
from reports.sections.comparison import Comparison
from reports.sections.comparison_verdict import ComparisonVerdict
from reports.sections.data import Data, centre_relation
from reports.sections.generators import Generators
from reports.sections.results import Chance, ClassMetrics, Guess, Results
from reports.sections.synthetic_gain import SyntheticGain, uses_synthetic
from thyroid.model.starting_point import is_shipped
from thyroid.run_files.config_json import RunConfig

ENOUGH_IMAGES = 100
ENOUGH_PER_CLASS = 10
ENOUGH = {
    "networks": ENOUGH_NETWORKS,
    "images": ENOUGH_IMAGES,
    "images_per_class": ENOUGH_PER_CLASS,
}


@dataclass(frozen=True, kw_only=True)
class SyntheticVerdict:
    state: str | None
    """See `synthetic_state`."""
    difference: Estimate | None
    """Macro-F1 with synthetic images minus macro-F1 without them."""


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """The part of the verdict that needs no results."""

    state: str
    """done (test results) | validated (validation results only) | running"""
    searched: bool
    split: str
    """How test images relate to training images: left_out (from a centre that was left out) |
    test_set (another data set) | see `centre_relation`"""
    centre: str | None
    """The centre that was left out."""
    synthetic: SyntheticVerdict
    comparison: ComparisonVerdict | None
    enough: dict[str, int]
    """Smallest numbers for which no caution is given."""
    cautions: list[str]
    """Names of the cautions that hold; the template has a sentence for each."""


@dataclass(frozen=True, kw_only=True)
class TakenFor:
    """The share of a class's images that are classified as a certain other class."""

    name: str
    share: float


@dataclass(frozen=True, kw_only=True)
class WeakestClass(ClassMetrics):
    taken_for: TakenFor | None
    """The class with which its images are most often confused."""


@dataclass(frozen=True, kw_only=True)
class FewestImages(ClassMetrics):
    share: float
    """How much one image changes the recall of the class."""


@dataclass(frozen=True, kw_only=True)
class ResultsVerdict(Verdict):
    """The verdict when there are results."""

    unnamed_patients: int
    """Number of images whose patient has no name or number."""
    macro_f1: Estimate | None
    accuracy: Estimate | None
    classes: int
    """Number of classes that have images."""
    folds: int
    by_centre: bool
    seeds: int
    networks: int
    """Folds times seeds."""
    ensemble: bool
    """True if the figures are those of the ensemble of all networks."""
    network_range: Range
    """Lowest and highest macro-F1 of single networks or, out of fold, of single seeds."""
    network_mean: float
    images: int
    patients: int
    guess: Guess
    chance: Chance
    learned: bool
    """True if the macro-F1 is above chance. Otherwise no difference is called a gain."""
    strongest: ClassMetrics | None
    """None, as `weakest`, if a class has too few images to compare classes."""
    weakest: WeakestClass | None
    fewest: FewestImages


def verdict_info(
    config: RunConfig,
    data: Data,
    results: Results | None,
    searched: Sequence[str] | None,
    gain: SyntheticGain | None = None,
    comparison: Comparison | None = None,
    generators: Generators | None = None,
) -> Verdict:
    """The verdict on a run.

    Parameters
    ----------
    searched
        Names of the searched parameters; None if nothing was searched.
    """
    left_out = config.of_recipe("split.leave_out_centre")
    relation = "test_set" if data.test_set else centre_relation(data)
    learned = results is None or results.learned
    common: dict[str, Any] = {
        "searched": searched is not None,
        "split": "left_out" if left_out else relation,
        "centre": left_out,
        "synthetic": SyntheticVerdict(
            state=synthetic_state(config, searched, gain, learned),
            difference=gain.difference if gain else None,
        ),
        "comparison": comparison.verdict if comparison else None,
        "enough": ENOUGH,
    }
    if results is None:
        return Verdict(state="running", cautions=[], **common)
    with_images = [c for c in results.per_class if c.images]
    fewest = min(with_images, key=lambda c: c.images)
    enough = fewest.images >= ENOUGH_PER_CLASS  # else one image makes a class the best or the worst
    ranked = sorted((-c.f1.value, c.name, c) for c in with_images if c.f1 and enough)
    values = [network.macro_f1 for network in results.by_network]
    flagged = {flag.kind for flag in data.quality}
    test_set, weights = data.test_set, config.of_recipe("network.weights")
    simulated = bool(data.simulated_images) or "phantom" in data.sources
    ours = bool(weights) and is_shipped(weights, earlier=True)
    cautions = {
        "validation_only": results.part != "test",
        "few_networks": results.networks < ENOUGH_NETWORKS,
        "few_images": results.images < ENOUGH_IMAGES,
        "few_per_class": fewest.images < ENOUGH_PER_CLASS,
        "absent_class": len(with_images) < len(results.per_class),
        "no_cross": results.cross_images == 0,
        "one_centre": common["split"] in ("one", "none"),
        "same_centres": common["split"] == "same",
        "simulated": simulated,
        "unnamed_patients": bool(data.unnamed_patients),
        "patients_alike": bool(data.patients_alike),
        "look_alikes": bool(data.look_alikes),
        "not_compared": data.look_alikes is None,
        "perhaps_same_patients": test_set is not None and not test_set.others,
        "confounded_centre": "confounded_centre" in flagged,
        "legend": "legend" in flagged,
        "unverified_images": bool(data.unverified_images),
        "emptied": bool(generators and generators.filter and generators.filter.emptied),
        "weights": bool(weights) and not ours,
        "compared_weights": bool(comparison and "fine-tuned" in comparison.starts)
        and (not weights or ours),
        "own_simulator": ours and simulated,
        "display": data.kind == "display",
    }
    return ResultsVerdict(
        **common,
        state="done" if results.part == "test" else "validated",
        cautions=[name for name, holds in cautions.items() if holds],
        unnamed_patients=data.unnamed_patients,
        macro_f1=results.overall.macro_f1,
        accuracy=results.overall.accuracy,
        classes=len(with_images),
        folds=results.folds,
        by_centre=results.by_centre,
        seeds=len(results.seeds),
        networks=results.networks,
        ensemble=results.ensemble,
        network_range=Range(low=min(values), high=max(values)),
        network_mean=rounded(sum(values) / len(values)),
        images=results.images,
        patients=results.patients,
        guess=results.guess,
        chance=results.chance,
        learned=results.learned,
        strongest=ranked[0][-1] if ranked else None,
        weakest=_weakest(ranked[-1][-1], results) if len(ranked) > 1 else None,
        fewest=FewestImages(**vars(fewest), share=1 / fewest.images),
    )


def _weakest(row: ClassMetrics, results: Results) -> WeakestClass:
    confusion = results.confusion
    i = confusion.classes.index(row.name)
    others = [(share, -j) for j, share in enumerate(confusion.shares[i]) if j != i and share]
    taken = None
    if others:
        share, j = max(others)
        taken = TakenFor(name=confusion.classes[-j], share=share)
    return WeakestClass(**vars(row), taken_for=taken)


def synthetic_state(
    config: RunConfig,
    searched: Sequence[str] | None,
    gain: SyntheticGain | None,
    learned: bool = True,
) -> str | None:
    """Say whether synthetic images helped; None if neither recipe nor search uses any.

    Returns
    -------
    not_chosen
        The search could use synthetic images, but chose a recipe without them.
    unknown
        There are no predictions of the recipe without synthetic images.
    raised, lowered
        The difference in macro-F1 is shown.
    undecided, luck, selected, few_networks
        See `direction`.
    """
    if not uses_synthetic(config):
        tried = any("synthetic" in name for name in searched or ())
        return "not_chosen" if tried else None
    if gain is None:
        return "unknown"
    alone = 0.0  # p-value: with only one comparison, the interval decides
    shown = direction(gain.difference, alone, gain.networks, learned, gain.tried)
    return {"higher": "raised", "lower": "lowered"}.get(shown, shown)


def verdict_line(verdict: dict[str, Any]) -> str:
    """One line for a terminal that states the verdict of report.json."""
    if verdict["state"] == "running":
        return "no result yet"
    f1, part = verdict["macro_f1"], "test" if verdict["state"] == "done" else "validation"
    who = "1 seed" if verdict["seeds"] == 1 else f"mean of {verdict['seeds']} seeds"
    if verdict["ensemble"]:
        who = f"ensemble of {verdict['networks']} networks"
    elif verdict["folds"] > 1:
        who = f"each by the network that was not trained on it ({verdict['folds']} folds), {who}"
    flat = f1["low"] == f1["high"]  # the page marks such an interval by a dagger
    interval = f"95 % interval {f1['low']:.3f} to {f1['high']:.3f}"
    line = (
        f"macro-F1 {f1['value']:.3f} "
        f"({'too few errors to say how far it may be off' if flat else interval}) "
        f"on {verdict['images']} {part} images, {who}"
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
        if verdict["synthetic"]["state"] == "few_networks":
            line += ", which is open because there are too few networks to tell"
        if verdict["synthetic"]["state"] == "selected":
            line += (
                ", which is open because these images were used to choose among "
                f"{verdict['chance']['tried']} recipes"
            )
    compared = verdict["comparison"]
    if compared is not None and "gap" in compared:
        line += f"; {_compared(compared)}; {_terms(compared)}"
    elif compared is not None and compared["state"] == "failed":
        line += "; every network that it was compared with had failed trainings"
    return line


def _terms(compared: dict[str, Any]) -> str:
    """Return the conditions of the comparison with baselines."""
    terms, tried = compared["opponents"], compared["tried"]
    said = []
    if compared["state"] not in ("few_networks", "selected"):
        said.append(
            f"it beats {compared['beaten']} of {compared['baselines']} baselines that count"
        )
    if terms["counted"] and terms["parameters"]:
        low, high = (terms["counted"][end] for end in ("low", "high"))
        said.append(f"these have {low:,.0f} to {high:,.0f} parameters, it {terms['parameters']:,}")
    each = str(tried["fewest"])
    if tried["most"] > tried["fewest"]:
        each += f" to {tried['most']}"
    said.append(
        f"the method's recipe is the best of {tried['method']} tried, each baseline's of {each}"
    )
    if terms["detectable"] and compared["state"] not in ("few_networks", "selected"):
        low, high = (terms["detectable"][end] for end in ("low", "high"))
        said.append(f"true differences of {low:.3f} to {high:.3f} would have been shown")
    failed = [f"{row['title']} {row['failed']} of {row['trainings']}" for row in terms["failed"]]
    said.append(f"failed trainings: {', '.join(failed)}" if failed else "no training failed")
    if terms["smaller"]:
        said.append(f"beaten but too small to count: {', '.join(terms['smaller'])}")
    return "; ".join(said)


def _compared(compared: dict[str, Any]) -> str:
    gap, best = compared["gap"], f"the best baseline, {compared['best']}"
    size = f"{gap['value']:.3f} ({gap['low']:.3f} to {gap['high']:.3f})"
    if compared["state"] in ("higher", "lower"):
        return f"that is {size} {compared['state']} than {best}"
    verdict = {
        "few_networks": "too few networks to tell it from",
        "selected": "open, because these images were used to choose recipes: the difference to",
    }.get(compared["state"], "no difference could be shown to")
    return f"{verdict} {best}: {gap['value']:+.3f} ({gap['low']:+.3f} to {gap['high']:+.3f})"
