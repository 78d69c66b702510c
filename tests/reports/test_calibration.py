"""Calibration in the report: fitted on validation images, measured on test images."""

import numpy as np
import pytest
import torch

from reports.run import read_run
from reports.sections.calibration import calibration_info
from reports.sections.calibration_figures import reliability_chart
from tests.reports.made_runs import make_dataset, make_run
from tests.reports.test_report import read
from thyroid.evaluate.metrics import calibration_error
from thyroid.run_files.predictions_csv import Predictions, write_predictions


@pytest.fixture(scope="module")
def content(tmp_path_factory):
    folder = tmp_path_factory.mktemp("calibration")
    return read_run(make_run(folder / "run", make_dataset(folder / "data", per_group=120)))


@pytest.fixture(scope="module")
def info(content):
    return calibration_info(content)


def scaled(p, temperature):
    p = p ** (1 / temperature)
    return p / p.sum(axis=1, keepdims=True)


def best_temperature(labels, p):
    """The temperature by gradient descent, as an independent reference.

    Before, log T is assumed to have mean 0 and standard deviation 0.5.
    """
    logits, y = torch.tensor(np.log(p)), torch.tensor(labels)
    log_t = torch.zeros((), dtype=torch.float64, requires_grad=True)
    optimiser = torch.optim.LBFGS([log_t], max_iter=100)

    def loss():
        optimiser.zero_grad()
        value = torch.nn.functional.cross_entropy(logits / log_t.exp(), y, reduction="sum")
        value = value + 2 * log_t**2
        value.backward()
        return value

    optimiser.step(loss)
    return float(log_t.detach().exp())


def test_temperature_is_fitted_on_validation_images_of_each_seed(content, info):
    for row in info.by_seed:
        p = content.predictions["validation"][row.seed]
        want = best_temperature(p.labels, p.probabilities)
        assert row.temperature == pytest.approx(want, rel=1e-3)
    temperatures = [row.temperature for row in info.by_seed]
    assert info.temperature["mean"] == pytest.approx(np.mean(temperatures))


def test_errors_are_of_test_images_and_means_over_seeds(content, info):
    test, y = content.predictions["test"], content.predictions["test"][0].labels
    temperatures = {row.seed: row.temperature for row in info.by_seed}
    for row in info.rows:
        ps = [
            scaled(p.probabilities, temperatures[s] if row.name == "tempered" else 1.0)
            for s, p in test.items()
        ]
        ece = np.mean([calibration_error(y, p, np.ones(len(y))) for p in ps])
        loss = np.mean([-np.log(p[np.arange(len(y)), y]).mean() for p in ps])
        assert row.ece.value == pytest.approx(ece)
        assert row.log_loss.value == pytest.approx(loss)
    assert info.rows[1].log_loss.value < info.rows[0].log_loss.value


def test_curve_is_that_of_all_seeds_together(content, info):
    test, y = content.predictions["test"], content.predictions["test"][0].labels
    confidence = np.concatenate([p.probabilities.max(1) for p in test.values()])
    right = np.concatenate([p.probabilities.argmax(1) == y for p in test.values()])
    curve = info.curves["trained"]
    assert sum(b.share for b in curve) == pytest.approx(1)
    for b in curve:
        inside = (confidence >= b.low) & (confidence < b.high)
        assert b.accuracy == pytest.approx(right[inside].mean())
        assert b.confidence == pytest.approx(confidence[inside].mean())
        assert b.share == pytest.approx(inside.mean())


def test_credible_sets_hold_the_class_as_often_as_they_shall(content, info):
    y = content.predictions["test"][0].labels
    covered, sizes = [], []
    for row in info.by_seed:
        p = scaled(content.predictions["test"][row.seed].probabilities, row.temperature)
        credible = 1 - p <= row.threshold + 1e-12
        covered.append(credible[np.arange(len(y)), y].mean())
        sizes.append(credible.sum(axis=1))
    sets = info.sets
    assert sets.coverage.value == pytest.approx(np.mean(covered), abs=1e-9)
    assert sets.size.value == pytest.approx(np.mean(sizes), abs=1e-9)
    assert sets.several.value == pytest.approx(np.mean(np.array(sizes) > 1), abs=1e-9)
    assert sum(getattr(sets, name).value for name in ("one", "several", "none")) == pytest.approx(1)
    assert sets.coverage.value == pytest.approx(0.95, abs=0.03)


def test_test_images_are_not_fitted_on(content, info):
    p = content.predictions["test"][0]
    content.predictions["test"][0] = Predictions(
        classes=p.classes, images=p.images, probabilities=p.probabilities[:, ::-1].copy()
    )
    try:
        other = calibration_info(content)
    finally:
        content.predictions["test"][0] = p
    assert other.by_seed == info.by_seed
    assert other.rows != info.rows


def test_without_a_test_part_it_is_left_out(run):
    for path in (run / "predictions").glob("test-*.csv"):
        path.unlink()
    html, info = read(run)
    assert info["calibration"] == {"state": "no_test"}
    assert "cannot be tested on the same images" in html
    assert "Reliability" not in html


def test_only_seeds_with_both_parts_count(run):
    (run / "predictions/validation-seed1.csv").unlink()
    assert [row.seed for row in calibration_info(read_run(run)).by_seed] == [0, 2]
    for path in (run / "predictions").glob("validation-*.csv"):
        path.unlink()
    html, info = read(run)
    assert info["calibration"] is None
    assert 'id="calibration"' not in html


def test_a_sure_network_that_is_always_right_has_a_page(run, dataset):
    """Probabilities of exactly zero and one."""
    for path in (run / "predictions").glob("*.csv"):
        predictions = read_run(run).predictions[path.name.partition("-")[0]]
        own = predictions[int(path.stem[-1])]
        sure = np.eye(4)[own.labels]
        write_predictions(
            path, Predictions(classes=own.classes, images=own.images, probabilities=sure)
        )
    html, info = read(run)
    assert info["calibration"]["sets"]["coverage"]["value"] == 1
    assert info["calibration"]["rows"][1]["ece"]["value"] == pytest.approx(0, abs=1e-9)
    assert 'aria-label="Share of right answers' in html


def test_chart_has_a_dot_for_each_bin(info):
    chart = str(reliability_chart(info))
    bins = sum(len(curve) for curve in info.curves.values())
    assert chart.count("<circle") == bins
    assert "as trained" in chart
    assert "calibrated" in chart
