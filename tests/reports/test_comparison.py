"""The comparison of a method: numbers agree with independent ones; verdict; missing parts."""

import json
import re
from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import binomtest
from sklearn.metrics import f1_score, precision_score, recall_score, roc_auc_score

from reports.report import write_report
from reports.run import read_run
from reports.sections.comparison import TITLES, comparison_info
from reports.sections.comparison_figures import forest_chart
from reports.sections.comparison_rows import DIFFERENCE_RESAMPLES
from reports.sections.provenance import command
from reports.sections.results import results_info
from reports.sections.verdict import verdict_line
from tests.reports.made_predictions import ROWS, add_comparison
from tests.reports.made_runs import make_run
from tests.reports.test_report import EVIL, Page, read
from tests.stub_config import changed, stub_dataset
from thyroid.errors import InputError
from thyroid.evaluate.paired import macro_f1_difference
from thyroid.recipe import RECIPES, NetworkConfig
from thyroid.run_files.rows_json import PARTS
from thyroid.runs.compared_recipes import ABLATIONS, baseline_rows


@pytest.fixture(scope="module")
def content(tmp_path_factory, dataset):
    run = make_run(tmp_path_factory.mktemp("compared") / "run", dataset, seeds=range(5))
    return read_run(add_comparison(run, dataset))


@pytest.fixture(scope="module")
def info(content):
    return comparison_info(content, results_info(content))


def rows_of(info, kind):
    return next(table["rows"] for table in info["tables"] if table["kind"] == kind)


def table_of(info, kind):
    return next(table for table in info.tables if table.kind == kind)


def shown(html):
    return " ".join(re.sub(r"<[^>]+>", "", html).split())


def test_two_tables_with_the_method_first(info):
    assert [table.kind for table in info.tables] == ["baseline", "ablation"]
    names = [[row.name for row in table.rows] for table in info.tables]
    assert names == [
        ["method", "resnet_small", "lenet5", "vgg_small"],
        ["method", "no-x", "mixed"],
    ]
    assert (info.rows, info.waiting, info.images) == (6, 0, 36)


def test_metrics_agree_with_scikit_learn(content, info):
    predicted = next(r for r in content.rows if r.name == "vgg_small").predictions
    first = predicted[0]
    y, cross = first.labels, first.is_cross
    settings = {"average": "macro", "zero_division": 0}
    want = {
        "macro_recall": lambda p: recall_score(y, p.argmax(1), **settings),
        "macro_precision": lambda p: precision_score(y, p.argmax(1), **settings),
        "macro_f1": lambda p: f1_score(y, p.argmax(1), **settings),
        "macro_auroc": lambda p: roc_auc_score(y, p, multi_class="ovr", average="macro"),
        "accuracy": lambda p: np.mean(p.argmax(1) == y),
        "single_accuracy": lambda p: np.mean((p.argmax(1) == y)[~cross]),
        "cross_accuracy": lambda p: np.mean((p.argmax(1) == y)[cross]),
    }
    row = next(r for r in table_of(info, "baseline").rows if r.name == "vgg_small")
    for name, metric in want.items():
        mean = np.mean([metric(p.probabilities) for p in predicted.values()])
        assert getattr(row.metrics, name).value == pytest.approx(mean), name
    for name, e in vars(row.metrics).items():
        if name != "ece":  # its interval removes what chance adds to the value
            assert e.low <= e.value <= e.high


def test_the_method_has_the_metrics_of_the_results(content, info):
    results = results_info(content)
    method = table_of(info, "ablation").rows[0]
    assert method.metrics.macro_f1 == results.overall.macro_f1
    assert method.metrics.cross_accuracy == results.subsets[1].accuracy


def test_differences_are_corrected_by_holm_within_their_table(content, info):
    rows = table_of(info, "baseline").others
    method = content.predictions["test"]
    y, patients = method[0].labels, method[0].images["patient_id"]
    found = []
    for row in rows:
        other = next(r for r in content.rows if r.name == row.name).predictions
        named = [
            np.stack([p[seed].probabilities.argmax(1) for seed in range(5)])
            for p in (method, other)
        ]
        by_seed = [
            f1_score(y, a, average="macro") - f1_score(y, b, average="macro")
            for a, b in zip(*named, strict=True)
        ]
        assert row.difference.value == pytest.approx(np.mean(by_seed))
        found.append(
            macro_f1_difference(y, *named, patients, classes=4, resamples=DIFFERENCE_RESAMPLES)
        )
    p = [difference.interval_p_value for difference in found]
    for i, row in enumerate(rows):
        below = [q * (3 - sorted(p).index(q)) for q in p if q <= p[i]]
        assert row.p_value == pytest.approx(min(1, max(below)))
        assert row.uncorrected_p_value == pytest.approx(p[i])
        ends = found[i].interval(row.level)
        assert (row.difference.low, row.difference.high) == pytest.approx(ends)
    by_p = sorted(rows, key=lambda row: row.uncorrected_p_value)
    assert [r.state for r in by_p] == ["higher", "higher", "undecided"]
    assert by_p[0].difference.level == pytest.approx(1 - 0.05 / 3)
    assert by_p[1].difference.level == pytest.approx(1 - 0.05 / 2)
    assert by_p[2].difference.level == pytest.approx(0.95)


def test_mcnemar_is_on_the_mean_probabilities(content, info):
    method = content.predictions["test"]
    y, p = method[0].labels, []
    for row in table_of(info, "ablation").others:
        other = next(r for r in content.rows if r.name == row.name).predictions
        right = [
            sum(q[seed].probabilities for seed in range(5)).argmax(1) == y for q in (method, other)
        ]
        only = int((right[0] & ~right[1]).sum()), int((right[1] & ~right[0]).sum())
        assert (row.mcnemar.only_method, row.mcnemar.only_row) == only
        p.append(binomtest(only[0], sum(only)).pvalue if sum(only) else 1.0)
        assert row.mcnemar.uncorrected_p_value == pytest.approx(p[-1])
    assert table_of(info, "ablation").rows[2].mcnemar.p_value == pytest.approx(min(1, 2 * p[1]))


def test_only_seeds_of_both_are_compared(compared_run):
    (compared_run / "rows/vgg_small/predictions/test-seed3.csv").unlink()
    content = read_run(compared_run)
    row = table_of(comparison_info(content, results_info(content)), "baseline").rows[3]
    assert (row.seeds, row.shared_networks, row.state) == (4, 4, "few_networks")
    html, _ = read(compared_run)
    assert "mean over seeds; the difference" in shown(html)


def test_each_ablation_has_its_sentence(compared_run):
    html, info = read(compared_run)
    states = {row["name"]: row["state"] for row in rows_of(info["comparison"], "ablation")[1:]}
    assert states == {"no-x": "undecided", "mixed": "higher"}
    assert "No x_i: not shown to help or to harm." in shown(html)
    assert "Cross images mixed in from the start: the method’s own part helped." in shown(html)
    assert "what each row changes" in shown(html).lower()
    assert "as given" in html


def test_a_plan_while_rows_are_not_done(tmp_path, dataset):
    run = make_run(tmp_path / "run", dataset, seeds=range(5))
    html, info = read(add_comparison(run, dataset, done=False))
    assert info["comparison"]["tables"] == []
    assert info["comparison"]["waiting"] == 5
    assert "5 of 6 rows have no predictions yet." in shown(html)
    assert "It is not known yet whether the method is better than other networks" in shown(html)
    assert 'aria-label="What is compared"' in html
    assert verdict_line(info["verdict"]).endswith("5 seeds")


def test_before_any_prediction_there_is_the_plan_alone(compared_run):
    for path in compared_run.rglob("*-seed*.csv"):
        path.unlink()
    html, info = read(compared_run)
    assert info["verdict"]["state"] == "running"
    assert 'aria-label="What is compared"' in html
    (compared_run / "rows.json").unlink()
    assert "The comparison has no results yet." in read(compared_run)[0]


def test_validation_images_stand_in_for_a_missing_test_part(tmp_path, dataset):
    run = make_run(tmp_path / "run", dataset, seeds=range(5))
    for path in (run / "predictions").glob("test-*.csv"):
        path.unlink()
    html, info = read(add_comparison(run, dataset, parts=("validation",)))
    assert info["comparison"]["part"] == "validation"
    assert "on the validation images" in shown(html)


@pytest.mark.parametrize(
    "content",
    [
        "{",
        '{"rows": [{"name": "x"}]}',
        '{"rows": [{"name": "../x", "kind": "baseline", "title": "x", "changes": {}}]}',
        '{"rows": [{"name": "x", "kind": "baseline", "title": "x", "changes": {}, "epochs": NaN}]}',
    ],
)
def test_a_damaged_table_of_rows_is_one_sentence(compared_run, content):
    (compared_run / "rows.json").write_text(content)
    with pytest.raises(InputError, match=r"rows\.json is damaged: run `thyroid compare` again"):
        read(compared_run)


def test_titles_are_escaped(compared_run):
    rows = json.loads((compared_run / "rows.json").read_text())
    rows["rows"][1] |= {"title": EVIL[0], "changes": {EVIL[2]: EVIL[0]}}
    rows["rows"][4]["title"] = EVIL[1]
    (compared_run / "rows.json").write_text(json.dumps(rows))
    page = Page(read(compared_run)[0])
    assert [tag for tag, _ in page.tags].count("script") == 1  # the page's own
    assert not any(name.startswith("on") for _, attrs in page.tags for name in attrs)


def test_other_runs_have_no_comparison(run):
    html, info = read(run)
    assert info["comparison"] is None
    assert 'id="comparison"' not in html


def test_command_of_a_comparison_is_what_one_would_type(content):
    test_set = stub_dataset(folder="/data/elsewhere")
    config = changed(content.config, test_set=test_set, recipe__network__weights="0a1b")
    assert command(config, "run") == (
        "thyroid compare synthetic4 run --ablations --models small --trials-per-model 3 "
        "--space baselines --seeds 5 --test-set elsewhere --weights weights.pth --input.size 32"
    )


def test_every_row_that_can_be_compared_has_a_title_for_translation():
    made = {title for title, _ in ABLATIONS.values()} | {"the method"}
    pretrained = [NetworkConfig(name="lenet5", weights="f" * 64)]
    rows = baseline_rows(RECIPES["small"](), (), pretrained, {"f" * 64: "FILE"}, probe=True)
    parts = {part for row in rows for part in row.title.split(PARTS)[1:]}
    assert made | parts - {"FILE"} == set(TITLES)


STARTS = {
    "method": ROWS["method"],
    "lenet5": ROWS["lenet5"],
    "resnet18-imagenet": (
        "baseline", "ResNet-18 · fine-tuned · imagenet.pth",
        {"network.name": "resnet18", "network.weights": "f" * 64}, 1.9,
    ),
    "probe-resnet_small": (
        "baseline", "ResNet, small · probe · random weights", {"training": "probe"}, 0.5,
    ),
}  # fmt: skip


def test_rows_say_what_they_start_from(tmp_path, dataset):
    run = make_run(tmp_path / "run", dataset, seeds=range(5))
    rows = add_comparison(run, dataset, STARTS) / "rows.json"
    listed = json.loads(rows.read_text())
    listed["rows"][3] |= {"epochs": 0, "trials": 1}
    rows.write_text(json.dumps(listed))
    html, info = read(run)
    assert info["comparison"]["starts"] == ["fine-tuned", "probe"]
    said = shown(html)
    for told in (
        "ResNet-18 · fine-tuned · imagenet.pth",
        "ResNet, small · probe · random weights",
        "A fine-tuned network starts from the weights in the file that its row names",
        "The fine-tuned networks of the comparison started from weights in a file.",
        "A probe is a network that keeps its initial weights",
    ):
        assert told in said
    # A probe has nothing to try: it does not make the budgets uneven
    budgets = info["comparison"]["verdict"]["tried"]
    assert budgets == {"method": 3, "fewest": 3, "most": 3, "uneven": False}
    chinese = shown(write_report(run, lang="zh").read_text())
    for told in ("ResNet-18 · 微调 · imagenet.pth", "ResNet, small · 探针 · 随机权重"):
        assert told in chinese


def test_rows_from_random_weights_alone_need_no_such_words(compared_run):
    html, info = read(compared_run)
    assert info["comparison"]["starts"] == []
    assert "compared_weights" not in info["verdict"]["cautions"]
    assert "fine-tuned" not in shown(html)


def test_a_probe_alone_makes_no_budget_uneven(tmp_path, dataset):
    run = make_run(tmp_path / "run", dataset, seeds=range(5))
    some = {name: STARTS[name] for name in ("method", "probe-resnet_small")}
    content = read_run(add_comparison(run, dataset, some))
    content.rows[1:] = [replace(row, trials=0) for row in content.rows[1:]]
    found = comparison_info(content, results_info(content)).verdict
    assert (found.baselines, found.tried.uneven) == (1, False)


def test_the_forest_has_a_mark_and_an_interval_for_each_row(info):
    row = info.tables[0].others[0]
    states = ("higher", "lower", "undecided", "few_networks")
    chart = forest_chart([replace(row, state=state) for state in states])
    assert chart.count('class="interval"') == 3
    assert chart.count('class="interval worse"') == 1
    assert chart.count('<circle class="mark complete"') == 1
    assert chart.count('<rect class="mark worse"') == 1
    assert chart.count('<circle class="mark pruned"') == 2


def test_the_confusion_of_the_best_baseline_is_that_of_its_predictions(compared_run):
    html, info = read(compared_run)
    found, best = info["comparison"]["best_confusion"], info["comparison"]["verdict"]["best"]
    assert found["title"] == best
    images = info["comparison"]["images"]
    assert sum(map(sum, found["counts"])) == images * found["seeds"]
    right = sum(found["counts"][i][i] for i in range(len(found["classes"])))
    table = next(t for t in info["comparison"]["tables"] if t["kind"] == "baseline")
    row = next(row for row in table["rows"] if row["title"] == best)
    accuracy = right / (images * found["seeds"])
    assert accuracy == pytest.approx(row["metrics"]["accuracy"]["value"])
    assert f"Confusion matrix of the best baseline, {best}" in html
