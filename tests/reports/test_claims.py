"""The publication's claims beside a run's results."""

from dataclasses import replace
from types import SimpleNamespace

import pytest

from reports.estimates import Estimate
from reports.report import report_info
from reports.run import read_run
from reports.sections.claims import claims_info
from reports.sections.comparison_verdict import AgainstBaselines, Budgets, ComparisonVerdict
from reports.sections.opponents import Opponents
from reports.sections.retention import ChangedAccuracy, Retention
from tests.reports.made_runs import add_cross_phase
from tests.reports.test_comparison import shown
from tests.reports.test_report import read
from tests.stub_config import changed, stub_config

CONFIG = stub_config(recipe={"cross": {"order": "retrain"}})


GAIN = SimpleNamespace(difference=Estimate(value=0.1, low=0.05, high=0.15), level=0.95)


def claims(training=None, results=None, comparison=None, gain=None, state=None, retention=None):
    return claims_info(CONFIG, training, results, comparison, gain, state, retention)


def training(*seeds):
    """A training with these accuracies and losses."""
    last = [
        {"epoch": 100, "validation_accuracy": accuracy, "validation_loss": loss}
        for accuracy, loss in seeds
    ]
    return SimpleNamespace(networks=[SimpleNamespace(last=each) for each in last])


def test_only_of_recipes_that_retrain():
    nothing = (None,) * 6
    assert claims_info(changed(CONFIG, recipe__cross__order="mixed"), *nothing) is None
    assert claims_info(stub_config(), *nothing) is None


def test_what_another_generator_is_worth_is_no_claim_of_the_publication():
    for generator, state in (("dcgan", "yes"), ("eigen", "missing")):
        config = changed(CONFIG, recipe__generator=generator)
        found = claims_info(config, None, None, None, GAIN, "raised", None)
        assert found.enlarged.state == state


def test_nothing_measured_yet():
    found = claims()
    rows = [*found.validation, *found.metrics, found.better, found.enlarged, found.kept]
    assert {row.state for row in rows} == {"missing"}


def test_validation_is_mean_and_range_over_seeds():
    accuracy, loss = claims(training((0.97, 0.10), (0.96, 0.20), (0.98, 0.12))).validation
    assert (accuracy.claimed, loss.claimed) == (0.9633, 0.1187)
    assert accuracy.mean == pytest.approx(0.97)
    assert (accuracy.low, accuracy.high) == (0.96, 0.98)
    assert (accuracy.networks, accuracy.epochs) == (3, 100)
    assert (accuracy.state, loss.state) == ("open", "open")
    assert [c.state for c in claims(training((0.9633, 0.1187))).validation] == ["yes", "yes"]
    assert [c.state for c in claims(training((0.9, 0.3))).validation] == ["no", "no"]


@pytest.mark.parametrize(
    ("low", "high", "state"),
    [(0.94, 0.99, "yes"), (0.90, 0.93, "no"), (0.92, 0.96, "open")],
)
def test_metrics_are_judged_by_their_lowest_class(low, high, state):
    names = ("recall", "precision", "specificity", "f1")

    def row(name, low, high):
        e = Estimate(value=(low + high) / 2, low=low, high=high)
        return SimpleNamespace(name=name, **dict.fromkeys(names, e))

    results = SimpleNamespace(
        part="test",
        learned=True,
        single=None,
        overall=SimpleNamespace(**{f"macro_{name}": None for name in names}),
        per_class=[row("a", 0.99, 1.0), row("b", low, high)],
    )
    for metric in claims(results=results).metrics:
        assert metric.state == state
        assert metric.lowest.name == "b"


@pytest.mark.parametrize(
    ("beaten", "beaten_by", "state"), [(3, 0, "yes"), (2, 0, "open"), (2, 1, "no")]
)
def test_better_than_every_network(beaten, beaten_by, state):
    verdict = AgainstBaselines(
        state="higher",
        best="LeNet-5",
        best_macro_f1=None,
        gap=GAIN.difference,
        level=0.95,
        p_value=0.01,
        detectable=0.05,
        ensembles=None,
        networks=5,
        tried=Budgets(method=1, fewest=1, most=1, uneven=False),
        baselines=3,
        opponents=Opponents(parameters=1, counted=None, smaller=[], failed=[], detectable=None),
        beaten=beaten,
        beaten_by=beaten_by,
    )
    assert claims(comparison=SimpleNamespace(verdict=verdict)).better.state == state
    none_counts = replace(verdict, baselines=0, beaten=0, beaten_by=0)
    assert claims(comparison=SimpleNamespace(verdict=none_counts)).better.state == "open"
    running = SimpleNamespace(verdict=ComparisonVerdict(state="running"))
    assert claims(comparison=running).better.state == "missing"


@pytest.mark.parametrize(
    ("single", "cross", "seeds", "state"),
    [
        ((-0.01, 0.01), (0.1, 0.3), 5, "yes"),
        ((-0.03, 0.01), (0.1, 0.3), 5, "open"),
        ((-0.05, -0.03), (0.1, 0.3), 5, "no"),
        ((-0.01, 0.01), (-0.1, 0.3), 5, "open"),
        ((-0.01, 0.01), (-0.3, -0.1), 5, "no"),
        ((-0.01, 0.01), (0.1, 0.3), 4, "open"),
    ],
)
def test_keeps_what_was_learned_while_it_learns(single, cross, seeds, state):
    rows = [
        ChangedAccuracy(
            name=name,
            images=36,
            before=0.5,
            after=0.5,
            change=Estimate(value=sum(ends) / 2, low=ends[0], high=ends[1]),
            p_value=0.5,
        )
        for name, ends in (("single", single), ("cross", cross))
    ]
    found = Retention(
        part="test",
        networks=seeds,
        folds=1,
        tried=1,
        enough_networks=5,
        level=0.95,
        resamples=2000,
        rows=rows,
    )
    assert claims(retention=found).kept.state == state
    assert claims(retention=replace(found, tried=2)).kept.state == "open"
    assert claims(retention=replace(found, rows=rows[:1])).kept.state == "missing"


def test_synthetic_images_are_judged_as_in_the_verdict():
    for given, state in (
        ("raised", "yes"),
        ("lowered", "no"),
        ("undecided", "open"),
        ("selected", "open"),
    ):
        assert claims(gain=GAIN, state=given).enlarged.state == state


def test_the_page_says_on_which_data(compared_run):
    html, info = read(compared_run)
    assert "on other data, because the publication’s are private" in html
    assert "0.9633" in html
    assert "0.1187" in html
    text = shown(html)
    assert "validation images of synthetic 4" in text
    assert "better than 2 of 3" in text
    values = [s["last"]["validation_accuracy"] for s in info["training"]["networks"]]
    assert info["claims"]["validation"][0]["low"] == pytest.approx(min(values))


def test_what_was_not_compared_says_how_to(synthetic_run, dataset):
    assert report_info(read_run(synthetic_run)).claims is None
    html, info = read(add_cross_phase(synthetic_run, dataset))
    assert "not compared: run thyroid compare" in shown(html)
    assert info["claims"]["enlarged"]["difference"] == info["synthetic_gain"]["difference"]
