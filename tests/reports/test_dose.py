"""The dose-response curves of the report: numbers agree with independent ones; sentences."""

import json
import re
from dataclasses import replace

import numpy as np
import pytest
from sklearn.metrics import f1_score

from reports.estimates import LEVEL, smallest_found
from reports.run import read_run
from reports.sections.dose import DIFFERENCE_RESAMPLES, TITLES, dose_info
from reports.sections.dose_figures import dose_chart
from reports.sections.provenance import command
from reports.sections.results import results_info
from tests.reports.made_predictions import ROWS, add_comparison, guess
from tests.reports.made_runs import make_run
from tests.reports.test_comparison import shown
from tests.reports.test_report import read
from tests.stub_config import changed
from thyroid.errors import InputError
from thyroid.evaluate.paired import macro_f1_difference
from thyroid.run_files.config_json import Doses, read_config
from thyroid.run_files.rows_json import Dose, read_rows, write_rows
from thyroid.runs.dosed_recipes import TITLES as MADE

SKILLS = {
    ("none", 0.0): 1.0,
    ("eigen", 0.25): 1.05,
    ("eigen", 0.75): -1.0,
    ("oracle", 0.25): 1.8,
    ("oracle", 0.75): 2.6,
}


def add_doses(run, dataset, skills=SKILLS, sizes=(None,), *, alone=True, done=True):
    """Turn a run into a comparison of doses."""
    rows = {"method": ROWS["method"]} if alone else dict(ROWS)
    doses = {}
    for size in sizes:
        for (generator, share), skill in skills.items():
            name = f"dose-{generator}-{100 * share:g}-n{size or 'all'}"
            title = f"{MADE.get(generator, generator)} · {100 * share:g} %"
            rows[name] = ("dose", title, {"mixing.dose": share}, skill)
            doses[name] = Dose(generator=generator, share=share, images_per_class=size)
    add_comparison(run, dataset, rows, done=done)
    counted = [
        replace(
            row,
            dose=doses.get(row.name),
            images=1000,
            synthetic_images=round(996 * doses[row.name].share) if row.name in doses else 0,
        )
        for row in read_rows(run)
    ]
    write_rows(run, counted)
    return run


@pytest.fixture(scope="module")
def folder(tmp_path_factory, dataset):
    run = make_run(tmp_path_factory.mktemp("doses") / "run", dataset, seeds=range(5))
    return add_doses(run, dataset)


@pytest.fixture(scope="module")
def content(folder):
    return read_run(folder)


@pytest.fixture(scope="module")
def info(content):
    return dose_info(content, results_info(content))


def named(content, name):
    row = next(row for row in content.rows if row.name == name)
    return np.stack([p.probabilities.argmax(1) for p in row.predictions.values()])


def test_points_are_paired_with_share_0_of_the_same_seeds(content, info):
    (size,) = info.sizes
    assert [curve.generator for curve in size.curves] == ["eigen", "oracle"]
    truth = content.predictions["test"][0]
    real = named(content, "dose-none-0-nall")
    f1 = [f1_score(truth.labels, row, average="macro") for row in real]
    assert size.real.macro_f1.value == pytest.approx(np.mean(f1))
    for curve in size.curves:
        assert [point.share for point in curve.points] == [0.25, 0.75]
        for point in curve.points:
            own = named(content, point.name)
            by_seed = [
                f1_score(truth.labels, a, average="macro")
                - f1_score(truth.labels, b, average="macro")
                for a, b in zip(own, real, strict=True)
            ]
            assert point.difference.value == pytest.approx(np.mean(by_seed))
            found = macro_f1_difference(
                truth.labels,
                own,
                real,
                truth.images["patient_id"],
                classes=4,
                resamples=DIFFERENCE_RESAMPLES,
            )
            ends = found.interval(point.level)
            assert (point.difference.low, point.difference.high) == pytest.approx(ends)
            assert point.detectable == smallest_found(found, point.level)
            assert point.around.low == pytest.approx(size.real.macro_f1.value + found.low)
            assert point.counted == pytest.approx(round(996 * point.share) / 1000)
            assert point.networks == 5


def test_holms_families_are_the_generators_and_the_oracle(info):
    (size,) = info.sizes
    for curve in size.curves:
        raw = [point.uncorrected_p_value for point in curve.points]
        for point in curve.points:
            worst = max(
                q * (2 - sorted(raw).index(q)) for q in raw if q <= point.uncorrected_p_value
            )
            assert point.p_value == pytest.approx(min(1, worst))
        levels = sorted(point.level for point in curve.points)
        assert levels == pytest.approx([LEVEL, 1 - (1 - LEVEL) / 2])


def test_what_each_curve_comes_to(info, folder):
    eigen, oracle = info.sizes[0].curves
    assert (eigen.helped, eigen.harmed) == ([], [0.75])
    assert oracle.helped == [0.25, 0.75]
    assert oracle.best.share == 0.75
    assert info.oracle_shown
    text = shown(read(folder)[0]).replace("\N{NO-BREAK SPACE}", " ")
    assert "Eigen-scintigrams: shown to harm at 75 %, and at no share to help." in text
    assert "Simulated patients (oracle): shown to help at 25 %, 75 %." in text
    least = [f"{end:.3f}" for end in (oracle.detectable.low, oracle.detectable.high)]
    assert f"shown in four of five such runs is {' to '.join(least)}, depending" in text
    assert "The oracle helps: this experiment can show" in text


def test_a_run_of_doses_alone_has_no_section_of_other_comparisons(folder, run):
    html, info = read(folder)
    assert info["comparison"] is None
    assert 'id="comparison"' not in html
    assert 'id="dose"' in html
    assert json.dumps(info["dose"])
    html, info = read(run)
    assert info["dose"] is None
    assert 'id="dose"' not in html


def test_doses_stand_beside_other_rows(tmp_path, dataset):
    run = add_doses(make_run(tmp_path / "run", dataset, seeds=range(5)), dataset, alone=False)
    _html, info = read(run)
    assert info["comparison"]["rows"] == len(ROWS)
    assert info["comparison"]["waiting"] == 0
    assert info["dose"]["rows"] == len(SKILLS)


def test_an_experiment_in_which_not_even_the_oracle_helps_says_so(tmp_path, dataset):
    skills = dict.fromkeys(SKILLS, 1.0)
    run = add_doses(make_run(tmp_path / "run", dataset, seeds=range(5)), dataset, skills)
    html, info = read(run)
    assert not info["dose"]["oracle_shown"]
    text = shown(html)
    assert "Not even the oracle was shown to help" in text
    assert "not shown to help or to harm at any share" in text


def test_sizes_have_curves_of_their_own(tmp_path, dataset):
    run = make_run(tmp_path / "run", dataset, seeds=range(5))
    html, info = read(add_doses(run, dataset, sizes=(10, None)))
    sizes = info["dose"]["sizes"]
    assert [size["images_per_class"] for size in sizes] == [10, None]
    assert sizes[0]["real"]["macro_f1"] != sizes[1]["real"]["macro_f1"]
    text = shown(html)
    assert "About 10 real images of each class" in text
    assert "All real images" in text
    assert html.count("smallest difference that would have been shown</th>") == 2


def test_few_networks_prove_nothing(tmp_path, dataset):
    run = add_doses(make_run(tmp_path / "run", dataset), dataset)
    html, info = read(run)
    assert not info["dose"]["oracle_shown"]
    assert "open, as so few networks prove nothing; 5 are needed." in shown(html)


def test_folds_are_paired_fold_by_fold(tmp_path, dataset):
    run = make_run(tmp_path / "run", dataset, seeds=range(1), folds=5)
    content = read_run(add_doses(run, dataset))
    (size,) = dose_info(content, results_info(content)).sizes
    assert size.real.networks == 5
    row, real = (
        next(row for row in content.rows if row.name == name).networks
        for name in ("dose-oracle-75-nall", "dose-none-0-nall")
    )
    labels = content.predictions["test"][0].labels
    by_fold = [
        f1_score(labels, row[key].probabilities.argmax(1), average="macro")
        - f1_score(labels, real[key].probabilities.argmax(1), average="macro")
        for key in row
    ]
    point = size.curves[1].points[1]
    assert point.difference.value == pytest.approx(np.mean(by_fold))


def test_while_it_is_at_work_rows_wait(tmp_path, dataset):
    run = make_run(tmp_path / "run", dataset, seeds=range(5))
    html, info = read(add_doses(run, dataset, done=False))
    assert info["dose"]["waiting"] == len(SKILLS)
    assert "5 of 5 rows have no predictions yet." in shown(html)
    rng = np.random.default_rng(0)
    for name in ("none-0", "eigen-25"):
        guess(run, dataset, run / "rows" / f"dose-{name}-nall" / "predictions", rng, 1.0, "test")
    html, info = read(run)
    (size,) = info["dose"]["sizes"]
    assert [len(curve["points"]) for curve in size["curves"]] == [1]


def test_other_images_are_refused(tmp_path, dataset):
    run = add_doses(make_run(tmp_path / "run", dataset, seeds=range(2)), dataset)
    for path in (run / "rows" / "dose-eigen-25-nall" / "predictions").glob("test-*.csv"):
        path.write_text("".join(path.read_text().splitlines(keepends=True)[:-1]))
    with pytest.raises(InputError, match="of dose-eigen-25-nall and dose-none-0-nall differ"):
        read(run)


def test_the_chart_has_a_line_for_each_curve_and_the_oracles_is_dashed(info):
    drawn = str(dose_chart(info.sizes[0]))
    paths = re.findall(r'<path class="line ([\w ]+)" d="(M[^"]*L[^"]*)"', drawn)
    assert [kind for kind, _ in paths] == ["fold0", "dashed ink"]
    starts = {path.split("L")[0] for _, path in paths}
    assert len(starts) == 1  # all begin at share 0
    assert drawn.count("<circle") == 4


def test_titles_are_translated():
    assert set(MADE.values()) == set(TITLES)


def test_the_command_that_reproduces_it(folder):
    generators = ("eigen", "oracle")
    config = changed(
        read_config(folder),
        comparison__dose=Doses(shares=(0.25, 0.5), generators=generators, sizes=(10, None)),
        comparison__unseen="graves+cold_nodule",
        comparison__generators=generators,
    )
    told = command(config, "run")
    for words in (
        *("--dose", "--shares 0.25,0.5", "--sizes 10,all", "--generators eigen,oracle"),
        "--unseen graves+cold_nodule",
    ):
        assert words in told
    config = changed(config, comparison__dose=None)
    assert "--dose" not in command(config, "run")
    assert "--generators eigen,oracle" in command(config, "run")
