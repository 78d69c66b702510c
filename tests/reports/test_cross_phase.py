"""The cross phase in the report: its mark in the curves, and what it changed."""

import re

import numpy as np
import pytest

from reports.run import read_run
from reports.sections.generators import generators_info
from reports.sections.retention import retention_info
from reports.sections.training import training_info
from reports.sections.training_figures import loss_chart
from tests.reports.made_runs import add_cross_phase, add_synthetic, make_run
from tests.reports.test_comparison import shown
from tests.reports.test_report import read
from tests.stub_config import with_config


@pytest.fixture
def cross_run(tmp_path, dataset):
    return add_cross_phase(make_run(tmp_path / "run", dataset, seeds=range(5)), dataset)


def test_change_is_of_the_same_seeds_on_single_and_on_cross_images(cross_run):
    (cross_run / "predictions/before-cross/test-seed2.csv").unlink()
    content = read_run(cross_run)
    info = retention_info(content)
    assert (info.part, info.networks) == ("test", 4)
    before, after = content.before_cross["test"], content.predictions["test"]
    first = after[0]
    for row, chosen in zip(info.rows, (~first.is_cross, first.is_cross), strict=True):
        shares = [
            np.mean(
                [
                    np.mean((p[s].probabilities.argmax(1) == first.labels)[chosen])
                    for s in (0, 1, 3, 4)
                ]
            )
            for p in (before, after)
        ]
        assert (row.before, row.after) == pytest.approx(tuple(shares))
        assert row.change.value == pytest.approx(shares[1] - shares[0])
        assert row.change.low <= row.change.value <= row.change.high
        assert row.images == chosen.sum()
    assert [row.name for row in info.rows] == ["single", "cross"]
    assert info.rows[1].change.low > 0  # cross images were learned


def test_the_sentence_is_in_points(cross_run):
    html, info = read(cross_run)
    single, cross = (row["change"] for row in info["retention"]["rows"])
    sign = {k: f"{100 * v:+.1f}".replace("-", "−") for k, v in single.items()}
    words = f"The cross phase changed accuracy on single images by {sign['value']} points"
    assert (
        f"{words} (95 % interval {sign['low']} to {sign['high']}) and accuracy on cross"
        in shown(html.replace("\N{NO-BREAK SPACE}", " "))
    )
    assert f"and accuracy on cross images by {100 * cross['value']:+.1f} points" in shown(html)


def test_few_networks_say_so(tmp_path, dataset):
    run = add_cross_phase(make_run(tmp_path / "run", dataset), dataset)
    assert "So few networks prove nothing; 5 are needed." in shown(read(run)[0])


def test_runs_without_a_cross_phase_have_nothing_of_it(run):
    html, info = read(run)
    assert info["retention"] is None
    assert 'id="retention"' not in html
    assert "cross phase" not in html


def test_curves_mark_where_the_cross_phase_begins(cross_run, run):
    info = training_info(read_run(cross_run))
    assert info.cross_from == 9
    chart = str(loss_chart(info))
    assert "cross phase \N{RIGHTWARDS ARROW}" in chart
    x = (float(re.search(r'class="mean" d="M([\d.]+)', chart)[1]) - 60) / (336 - 60)
    assert 1 + x * 11 == pytest.approx(8.5, abs=0.01)  # between epochs 8 and 9 of 1 to 12
    info = training_info(read_run(run))
    assert info.cross_from is None
    assert 'class="mean"' not in str(loss_chart(info))


def test_an_early_switch_has_its_name_to_the_right(tmp_path, dataset):
    run = add_cross_phase(make_run(tmp_path / "run", dataset), dataset, switch=3)
    chart = str(loss_chart(training_info(read_run(run))))
    assert 'text-anchor="start">cross phase<' in chart


def test_synthetic_images_of_the_cross_phase_alone_count(synthetic_run):
    none, cross = {"synthetic_share": 0.0, "final_share": 0.0}, {"order": "retrain"}
    with_config(synthetic_run, recipe__mixing=none, recipe__cross=cross | {"synthetic": 0.4})
    assert generators_info(read_run(synthetic_run)).cross_synthetic == 0.4
    html, info = read(synthetic_run)
    assert info["verdict"]["synthetic"]["state"] is not None
    assert "in the cross phase 40" in shown(html)
    with_config(synthetic_run, recipe__cross__order="mixed")  # then that share is of no batch
    assert read(synthetic_run)[1]["generators"] is None


def test_a_run_with_everything_is_whole(tmp_path, dataset):
    run = make_run(tmp_path / "run", dataset, seeds=range(5))
    html, _ = read(add_cross_phase(add_synthetic(run, dataset), dataset))
    titles = re.findall(r"<h2[^>]*>(.*?)</h2>", html)
    assert titles == [
        "Verdict",
        "Claims of the publication",
        "Results on test images",
        "Training",
        "Synthetic scintigrams",
        "Search",
        "Cases",
        "Data",
        "How to reproduce",
        "Limits",
    ]
