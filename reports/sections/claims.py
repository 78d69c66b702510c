"""The publication's claims, each compared with what this run obtained on other data.

Wang Ke and Zhang Genyao, Diagnosis of thyroid SPECT image based on ResNet model, Journal of Hebei
University of Science and Technology 41(3):242-248, 2020; of which only the abstract is available.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from reports.estimates import ENOUGH_NETWORKS, Estimate, rounded
from reports.sections.comparison import Comparison
from reports.sections.comparison_verdict import AgainstBaselines
from reports.sections.results import Results
from reports.sections.retention import Retention
from reports.sections.synthetic_gain import SyntheticGain
from reports.sections.training import Training
from thyroid.run_files.config_json import RunConfig

EPOCHS = 100
VALIDATION = (("validation_accuracy", 0.9633), ("validation_loss", 0.1187))
AT_LEAST = 0.938
METRICS = ("recall", "precision", "specificity", "f1")
LOSS_ALLOWED = 0.02
"""Loss of accuracy on single images that still counts as keeping what was learned."""


State = Literal["yes", "no", "open", "missing"]
"""open: this run cannot tell; missing: it was not measured."""
ENLARGED: dict[str, State] = {
    "raised": "yes",
    "lowered": "no",
    **dict.fromkeys(("undecided", "luck", "selected", "few_networks"), "open"),
}
"""State of the verdict on synthetic images -> state of the claim about them."""


@dataclass(frozen=True, kw_only=True)
class ValidationClaim:
    """Accuracy or loss on validation images after the last epoch, mean and range over networks."""

    name: str
    """validation_accuracy | validation_loss (nats)"""
    claimed: float
    state: State
    mean: float | None = None
    low: float | None = None
    high: float | None = None
    networks: int | None = None
    epochs: int | None = None


@dataclass(frozen=True, kw_only=True)
class LowestClass:
    name: str
    estimate: Estimate


@dataclass(frozen=True, kw_only=True)
class MetricClaim:
    """The claim that a metric is above a value for each class; mean over single networks."""

    name: str
    state: State
    macro: Estimate | None = None
    lowest: LowestClass | None = None


@dataclass(frozen=True, kw_only=True)
class BetterClaim:
    """The claim that the method is better than every network that it was compared with."""

    state: State
    beaten: int | None = None
    beaten_by: int | None = None
    baselines: int | None = None


@dataclass(frozen=True, kw_only=True)
class EnlargedClaim:
    """The claim that synthetic images of DCGAN and SRGAN make up for too few training images."""

    state: State
    difference: Estimate | None
    level: float | None


@dataclass(frozen=True, kw_only=True)
class KeptClaim:
    """The claim that cross-training learns cross features and keeps what was learned before."""

    state: State
    single: Estimate | None = None
    cross: Estimate | None = None
    level: float | None = None


@dataclass(frozen=True, kw_only=True)
class Claims:
    claimed_epochs: int
    at_least: float
    """Value that the publication claims for every metric."""
    loss_allowed: float
    """Loss of accuracy on single images at which what was learned still counts as kept."""
    part: str | None
    """test | validation: the part on which the metrics are measured."""
    validation: list[ValidationClaim]
    metrics: list[MetricClaim]
    better: BetterClaim
    enlarged: EnlargedClaim
    kept: KeptClaim


def claims_info(
    config: RunConfig,
    training: Training | None,
    results: Results | None,
    comparison: Comparison | None,
    gain: SyntheticGain | None,
    synthetic_state: str | None,
    retention: Retention | None,
) -> Claims | None:
    """The claims compared with the results.

    None unless the recipe trains first on single images and then on crosses.
    """
    if config.of_recipe("cross.order") != "retrain":
        return None
    enlarged: State = "missing"
    if synthetic_state and config.of_recipe("generator", "dcgan") == "dcgan":
        enlarged = ENLARGED.get(synthetic_state, "missing")
    return Claims(
        claimed_epochs=EPOCHS,
        at_least=AT_LEAST,
        loss_allowed=LOSS_ALLOWED,
        part=results.part if results else None,
        validation=[_validation(name, claimed, training) for name, claimed in VALIDATION],
        metrics=[_metric(name, results) for name in METRICS],
        better=_better(comparison),
        enlarged=EnlargedClaim(
            state=enlarged,
            difference=gain.difference if gain else None,
            level=gain.level if gain else None,
        ),
        kept=_kept(retention, results is None or results.learned),
    )


def _validation(name: str, claimed: float, training: Training | None) -> ValidationClaim:
    """Compare with the claimed accuracy or loss; open unless all networks agree."""
    last = [network.last for network in training.networks] if training else []
    values = [value for epoch in last if (value := epoch[name]) is not None]
    if not values:
        return ValidationClaim(name=name, claimed=claimed, state="missing")
    reached = [v >= claimed if name == "validation_accuracy" else v <= claimed for v in values]
    return ValidationClaim(
        name=name,
        claimed=claimed,
        state="yes" if all(reached) else "open" if any(reached) else "no",
        mean=rounded(np.mean(values)),
        low=rounded(min(values)),
        high=rounded(max(values)),
        networks=len(values),
        epochs=max(int(epoch["epoch"] or 0) for epoch in last),
    )


def _metric(name: str, results: Results | None) -> MetricClaim:
    """Compare the lowest value of a metric among the classes with the claimed minimum."""
    of = results and (results.single or results)
    rows = of.per_class if of else []
    known = [(e.value, row.name, e) for row in rows if (e := getattr(row, name)) is not None]
    if of is None or not known:
        return MetricClaim(name=name, state="missing")
    _value, lowest, e = min(known, key=lambda row: row[:2])
    return MetricClaim(
        name=name,
        state="yes" if e.low > AT_LEAST else "no" if e.high < AT_LEAST else "open",
        macro=getattr(of.overall, f"macro_{name}"),
        lowest=LowestClass(name=lowest, estimate=e),
    )


def _better(comparison: Comparison | None) -> BetterClaim:
    verdict = comparison and comparison.verdict
    if not isinstance(verdict, AgainstBaselines):
        return BetterClaim(state="missing")
    every = 0 < verdict.baselines == verdict.beaten
    return BetterClaim(
        state="yes" if every else "no" if verdict.beaten_by else "open",
        beaten=verdict.beaten,
        beaten_by=verdict.beaten_by,
        baselines=verdict.baselines,
    )


def _kept(retention: Retention | None, learned: bool) -> KeptClaim:
    """Kept: the interval rules out a loss of more than `LOSS_ALLOWED`. Learned: a gain is shown,
    and the networks are better than chance. Open if the recipe was chosen on the same images.
    """
    rows = {row.name: row.change for row in retention.rows} if retention else {}
    if retention is None or set(rows) != {"single", "cross"}:
        return KeptClaim(state="missing")
    single, cross = rows["single"], rows["cross"]
    state: State = "open"
    if single.low > -LOSS_ALLOWED and cross.low > 0:
        state = "yes"
    if single.high < -LOSS_ALLOWED or cross.high < 0:
        state = "no"
    selected = retention.tried > 1
    if retention.networks < ENOUGH_NETWORKS or selected or (state == "yes" and not learned):
        state = "open"
    return KeptClaim(state=state, single=single, cross=cross, level=retention.level)
