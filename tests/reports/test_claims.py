"""The publication's claims beside a run's results."""

import pytest

from reports.report import report_info
from reports.run import read_run
from reports.sections.claims import claims_info
from tests.reports.conftest import add_cross_phase
from tests.reports.test_comparison import shown
from tests.reports.test_report import read

CONFIG = {"recipe": {"cross": {"order": "retrain"}}}


def claims(training=None, results=None, comparison=None, worth=None, state=None, forgetting=None):
    return claims_info(CONFIG, training, results, comparison, worth, state, forgetting)


def last(accuracy, loss, epoch=100):
    return {"last": {"epoch": epoch, "validation_accuracy": accuracy, "validation_loss": loss}}


def test_only_of_recipes_that_retrain():
    nothing = (None,) * 6
    assert claims_info({"recipe": {"cross": {"order": "mixed"}}}, *nothing) is None
    assert claims_info({"recipe": {}}, *nothing) is None


def test_what_another_generator_is_worth_is_no_claim_of_the_publication():
    worth = {"difference": {"value": 0.1, "low": 0.05, "high": 0.15}, "level": 0.95}
    for generator, state in (("dcgan", "yes"), ("eigen", "missing")):
        config = {"recipe": CONFIG["recipe"] | {"generator": generator}}
        found = claims_info(config, None, None, None, worth, "raised", None)
        assert found["enlarged"]["state"] == state


def test_nothing_measured_yet():
    found = claims()
    rows = [*found["validation"], *found["metrics"], found["better"], found["enlarged"]]
    assert {row["state"] for row in [*rows, found["kept"]]} == {"missing"}


def test_validation_is_mean_and_range_over_seeds():
    training = {"seeds": [last(0.97, 0.10), last(0.96, 0.20), last(0.98, 0.12)]}
    accuracy, loss = claims(training)["validation"]
    assert (accuracy["claimed"], loss["claimed"]) == (0.9633, 0.1187)
    assert accuracy["mean"] == pytest.approx(0.97)
    assert (accuracy["low"], accuracy["high"]) == (0.96, 0.98)
    assert (accuracy["seeds"], accuracy["epochs"]) == (3, 100)
    assert (accuracy["state"], loss["state"]) == ("open", "open")
    better = {"seeds": [last(0.9633, 0.1187)]}
    assert [c["state"] for c in claims(better)["validation"]] == ["yes", "yes"]
    worse = {"seeds": [last(0.9, 0.3)]}
    assert [c["state"] for c in claims(worse)["validation"]] == ["no", "no"]


@pytest.mark.parametrize(
    ("low", "high", "state"),
    [(0.94, 0.99, "yes"), (0.90, 0.93, "no"), (0.92, 0.96, "open")],
)
def test_metrics_are_judged_by_their_lowest_class(low, high, state):
    def row(name, value, low, high):
        e = {"value": value, "low": low, "high": high}
        return {"name": name} | dict.fromkeys(("recall", "precision", "specificity", "f1"), e)

    overall = {f"macro_{name}": None for name in ("recall", "precision", "specificity", "f1")}
    results = {
        "part": "test",
        "learned": True,
        "overall": overall,
        "per_class": [row("a", 0.999, 0.99, 1.0), row("b", (low + high) / 2, low, high)],
    }
    for metric in claims(results=results)["metrics"]:
        assert metric["state"] == state
        assert metric["lowest"]["class"] == "b"


@pytest.mark.parametrize(
    ("beaten", "beaten_by", "state"), [(3, 0, "yes"), (2, 0, "open"), (2, 1, "no")]
)
def test_better_than_every_network(beaten, beaten_by, state):
    verdict = {"state": "higher", "baselines": 3, "beaten": beaten, "beaten_by": beaten_by}
    assert claims(comparison={"verdict": verdict})["better"]["state"] == state
    assert claims(comparison={"verdict": {"state": "running"}})["better"]["state"] == "missing"


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
    changes = [
        {"name": name, "change": {"value": sum(ends) / 2, "low": ends[0], "high": ends[1]}}
        for name, ends in (("single", single), ("cross", cross))
    ]
    forgetting = {"seeds": seeds, "tried": 1, "level": 0.95, "rows": changes}
    assert claims(forgetting=forgetting)["kept"]["state"] == state
    selected = claims(forgetting=forgetting | {"tried": 2})["kept"]["state"]
    assert selected == "open"
    only_single = forgetting | {"rows": changes[:1]}
    assert claims(forgetting=only_single)["kept"]["state"] == "missing"


def test_synthetic_images_are_judged_as_in_the_verdict():
    worth = {"difference": {"value": 0.03, "low": 0.01, "high": 0.05}, "level": 0.95}
    for given, state in (
        ("raised", "yes"),
        ("lowered", "no"),
        ("undecided", "open"),
        ("selected", "open"),
    ):
        assert claims(worth=worth, state=given)["enlarged"]["state"] == state


def test_the_page_says_on_which_data(compared_run):
    html, info = read(compared_run)
    assert "on other data than the publication’s, which are private" in html
    assert "0.9633" in html
    assert "0.1187" in html
    text = shown(html)
    assert "validation images of synthetic 4" in text
    assert "better than 2 of 3" in text
    values = [s["last"]["validation_accuracy"] for s in info["training"]["seeds"]]
    assert info["claims"]["validation"][0]["low"] == pytest.approx(min(values))


def test_what_was_not_compared_says_how_to(synthetic_run, dataset):
    info = report_info(read_run(synthetic_run))
    assert info["claims"] is None
    html, info = read(add_cross_phase(synthetic_run, dataset))
    assert "not compared: run thyroid compare" in shown(html)
    assert info["claims"]["enlarged"]["difference"] == info["synthetic_gain"]["difference"]
