"""ROC and precision-recall curves: their areas are those of the tables, and they are drawn so."""

import re

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import average_precision_score, roc_auc_score

from reports.report import report_info, write_report
from reports.run import read_run
from reports.sections.curves import (
    STEPS,
    ClassCurves,
    Curves,
    Steps,
    curves_info,
    recall_steps,
    roc_steps,
)
from reports.sections.curves_figures import SIDE, curve_chart


@pytest.mark.parametrize("levels", [3, 10**9], ids=["many ties", "no ties"])
@pytest.mark.parametrize("images", [8, 500])
def test_the_means_of_the_steps_are_the_areas(images, levels):
    rng = np.random.default_rng(images)
    positive = rng.permutation(np.arange(images) % 4 == 0)
    score = np.round(levels * rng.random(images)) / levels + 0.2 * positive
    score = np.round(levels * score) / levels
    steps = roc_steps(positive, score)
    assert len(steps) == (~positive).sum()
    assert np.all(np.diff(steps) >= 0)
    assert steps.mean() == pytest.approx(roc_auc_score(positive, score), abs=1e-12)
    steps = recall_steps(positive, score)
    assert len(steps) == positive.sum()
    assert steps.mean() == pytest.approx(average_precision_score(positive, score), abs=1e-12)


def test_the_areas_are_those_of_the_table(run):
    info = report_info(read_run(run))
    rows = {row.name: row for row in info.results.per_class}
    assert [c.name for c in info.curves.classes] == list(rows)
    for c in info.curves.classes:
        kept = c.method
        assert kept.roc.area == pytest.approx(rows[c.name].auroc.value, abs=1e-9)
        assert kept.recall.area == pytest.approx(rows[c.name].auprc.value, abs=1e-9)
        for kind in vars(kept).values():
            assert len(kind.heights) <= STEPS
            assert np.mean(kind.heights) == pytest.approx(kind.area, abs=1e-5)
        assert c.other is None
    assert info.curves.other is None


def test_the_best_baseline_is_drawn_beside_the_method(compared_run):
    info = report_info(read_run(compared_run))
    best = info.comparison.verdict.best
    assert info.curves.other == best
    table = next(t for t in info.comparison.tables if t.kind == "baseline")
    row = next(row for row in table.rows if row.title == best)
    areas = [c.other.roc.area for c in info.curves.classes]
    assert np.mean(areas) == pytest.approx(row.metrics.macro_auroc.value, abs=1e-9)
    chart = curve_chart(info.curves.classes[0])
    assert chart.count('class="line solid"') == chart.count('class="line dashed"') == 2


def test_a_class_without_images_has_no_curve(run):
    content = read_run(run)
    for predictions in content.predictions["test"].values():
        predictions.images["label"] = predictions.images["label"].replace("graves", "normal")
    names = [c.name for c in curves_info(content, None).classes]
    assert names == ["normal", "hot_nodule", "cold_nodule"]


def test_images_of_one_class_alone_leave_the_curves_out(run):
    for path in (run / "predictions").glob("test-*.csv"):
        table = pd.read_csv(path)
        table.assign(label="normal", findings="normal").to_csv(path, index=False)
    html = write_report(run).read_text()
    assert 'id="results"' in html
    assert 'id="curves"' not in html


def test_a_perfect_classifier_is_drawn_along_the_edges():
    perfect = Steps(area=1.0, heights=[1.0, 1.0])
    curves = Curves(roc=perfect, recall=perfect)
    chart = curve_chart(ClassCurves(name="a_class", share=0.5, method=curves, other=None))
    roc, recall = (d.split() for d in re.findall(r'class="line solid" d="(.*?)"', chart))
    assert "".join(roc).startswith("M40")
    assert f"V{8}H{40 + SIDE}" in "".join(roc).replace(".0", "")
    assert len(recall) > 1
    assert 'aria-label="a class: ROC' in chart
