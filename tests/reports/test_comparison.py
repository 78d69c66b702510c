"""The comparison of a method: its numbers against independent ones, its verdict, its gaps."""

import json
import re
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from scipy.stats import binomtest
from sklearn.metrics import f1_score, precision_score, recall_score, roc_auc_score

from reports.estimates import Estimate
from reports.report import write_report
from reports.run import read_run
from reports.sections.comparison import TITLES, comparison_info
from reports.sections.comparison_figures import forest_chart
from reports.sections.comparison_rows import DIFFERENCE_RESAMPLES, DifferenceAtLevel
from reports.sections.comparison_verdict import comparison_verdict
from reports.sections.provenance import command
from reports.sections.results import results_info
from reports.sections.verdict import verdict_line
from tests.reports.conftest import ROWS, add_comparison, make_run
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
        if name != "ece":  # its interval takes off what chance adds to the value
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


def verdict_of(*states, parameters=(), failed=()):
    """The verdict on baselines with these states, the last the best, against 1,000 parameters.

    `parameters`: of each; `failed`: of five trainings of each.
    """
    rows = [
        SimpleNamespace(
            name=f"network{i}",
            title=f"network {i}",
            state=state,
            parameters=dict(enumerate(parameters)).get(i, 1000),
            metrics=SimpleNamespace(macro_f1=Estimate(value=0.5 + i / 100, low=0.4, high=0.6)),
            difference=DifferenceAtLevel(value=0.042, low=0.021, high=0.063, level=0.99)
            if state == "higher"
            else DifferenceAtLevel(value=-0.03, low=-0.05, high=-0.01, level=0.99),
            p_value=0.004,
            shared_networks=5,
            single=None,
            detectable=0.05,
            ensembles=None,
            trials=0,
        )
        for i, state in enumerate(states)
    ]
    plan = [
        SimpleNamespace(
            kind="baseline",
            name=row.name,
            title=row.title,
            done=True,
            diverged=False,
            trainings=5,
            failed=dict(enumerate(failed)).get(i, 0),
            failed_at_first=5 if dict(enumerate(failed)).get(i, 0) else 0,
        )
        for i, row in enumerate(rows)
    ]
    every = [SimpleNamespace(trials=0, parameters=1000), *rows]
    return comparison_verdict(plan, [SimpleNamespace(kind="baseline", rows=every, others=rows)])


def test_verdict_is_of_the_best_baseline():
    found = verdict_of("higher", "higher")
    assert (found.state, found.best) == ("higher", "network 1")
    assert (found.beaten, found.beaten_by, found.baselines) == (2, 0, 2)
    assert found.gap == Estimate(value=0.042, low=0.021, high=0.063)
    assert verdict_of("undecided", "higher").beaten == 1


def test_verdict_of_a_method_that_is_worse_has_the_gap_above_zero():
    found = verdict_of("higher", "lower")
    assert found.gap == Estimate(value=0.03, low=0.01, high=0.05)
    assert (found.beaten, found.beaten_by) == (1, 1)


def test_only_wins_over_small_baselines_are_not_counted():
    found = verdict_of("higher", "undecided", "higher", parameters=(749, 10, 750))
    assert (found.baselines, found.beaten) == (2, 1)
    assert found.opponents.smaller == ["network 0"]
    assert (found.opponents.parameters, found.opponents.counted.low) == (1000, 10)
    beaten_by = verdict_of("lower", "higher", parameters=(10, 1000))
    assert (beaten_by.baselines, beaten_by.beaten_by, beaten_by.opponents.smaller) == (2, 1, [])


def test_a_baseline_of_which_trainings_failed_is_not_beaten():
    found = verdict_of("higher", "failed", "higher", failed=(0, 2))
    assert (found.state, found.best) == ("higher", "network 2")
    assert (found.baselines, found.beaten) == (2, 2)
    (row,) = found.opponents.failed
    assert (row.title, row.failed, row.trainings, row.again) == ("network 1", 2, 5, 5)
    assert verdict_of("failed", "higher", failed=(1, 0)).beaten == 1
    # One that is best although some trainings failed is still the best
    assert verdict_of("higher", "lower", failed=(0, 1)).best == "network 1"


def test_where_every_baseline_failed_nothing_is_said_to_be_beaten():
    assert verdict_of("failed", "failed", failed=(5, 5)).state == "failed"
    # At chance, and by luck not told from the method
    assert verdict_of("undecided", failed=(5,)).state == "failed"


def set_failed(run, name, failed, again=5):
    rows = json.loads((run / "rows.json").read_text())
    for row in rows["rows"]:
        row["trainings"] = 5
        if row["name"] == name:
            row["failed_at_first"] = again
            row["failed"] = [{"seed": s, "fold": 0, "reason": "chance"} for s in range(failed)]
    (run / "rows.json").write_text(json.dumps(rows))


def test_failures_stand_beside_the_verdict(tmp_path, dataset):
    """A network that was not trained is told as failed, with or without predictions."""
    skills = {"resnet_small": -1.0, "lenet5": -2.0}
    html, info = compare(tmp_path, dataset, skills)
    run = tmp_path / "run"
    of = info["verdict"]["comparison"]["opponents"]
    low, high = (of["detectable"][end] for end in ("low", "high"))
    assert f"in four of five such runs is {low:.3f} to {high:.3f}, depending on the" in shown(html)
    assert "The recipe of each is the best of 3 that were tried on validation images" in shown(html)
    assert re.search(r"has 9\d\d,\d{3} parameters, and the baselines that count have", shown(html))
    assert "No training of a baseline failed." in shown(html)
    line = verdict_line(info["verdict"])
    assert "it beats 2 of 2 baselines that count; these have 9" in line
    assert "no training failed" in line

    set_failed(run, "lenet5", 5)
    html, info = read(run)
    states = {row["name"]: row["state"] for row in rows_of(info["comparison"], "baseline")[1:]}
    assert states == {"resnet_small": "higher", "lenet5": "failed"}
    assert info["comparison"]["verdict"]["baselines"] == 1
    told = "LeNet-5 (5 of 5 failed, although all were repeated at a tenth of the learning rate)."
    assert f"A baseline with failed trainings never counts as beaten: {told}" in shown(html)
    assert "LeNet-5 5 trainings failed" in shown(html)
    assert "The method beats every baseline that counts." in shown(html)
    assert "trainings failed of LeNet-5 5 of 5" in verdict_line(info["verdict"])
    assert "绝不算作被超过" in write_report(run, lang="zh").read_text()

    for path in (run / "rows/lenet5").rglob("*.csv"):  # all diverged
        path.unlink()
    html, info = read(run)
    assert info["comparison"]["verdict"]["beaten"] == 1
    assert info["comparison"]["waiting"] == 0
    assert told in shown(html)

    set_failed(run, "resnet_small", 5, again=0)
    html, info = read(run)
    assert info["comparison"]["verdict"] == {"state": "failed"}
    assert "trainings of every network that it was compared with failed" in shown(html)


def set_trials(run, **trials):
    rows = json.loads((run / "rows.json").read_text())
    for row in rows["rows"]:
        row["trials"] = trials.get(row["kind"], 0)
    (run / "rows.json").write_text(json.dumps(rows))


def test_a_method_that_was_chosen_among_more_recipes_is_said_to_be(compared_run):
    """As after a search: `compare --recipe searched/recipe.json`."""
    assert not read(compared_run)[1]["verdict"]["comparison"]["tried"]["uneven"]
    set_trials(compared_run, method=16)
    html, info = read(compared_run)
    tried = info["verdict"]["comparison"]["tried"]
    assert tried == {"method": 16, "fewest": 1, "most": 1, "uneven": True}
    said = "is the best of 16 that were tried on validation images, each baseline’s of 1: part"
    assert said in shown(html)
    assert "best of 16 tried, each baseline's of 1" in verdict_line(info["verdict"])
    cells = re.findall(r"<td>([^<]*)</td></tr>", html.replace("\n", ""))
    table = next(t for t in info["comparison"]["tables"] if t["kind"] == "baseline")
    assert [row["trials"] for row in table["rows"]] == [16, 0, 0, 0]
    assert "as given" in cells
    zh = write_report(compared_run, lang="zh").read_text()
    assert "本方法的训练方案是在验证图像上尝试的" in zh
    set_trials(compared_run, method=19, baseline=4)
    assert "each baseline’s of 4:" in shown(read(compared_run)[0])


def test_ablations_alone_have_the_methods_budget(compared_run):
    rows = json.loads((compared_run / "rows.json").read_text())
    rows["rows"] = [row for row in rows["rows"] if row["kind"] != "baseline"]
    (compared_run / "rows.json").write_text(json.dumps(rows))
    set_trials(compared_run, method=16)
    assert "is the best of 16" not in shown(read(compared_run)[0])


def test_verdict_without_baselines():
    assert verdict_of().state == "none"


def compare(tmp_path, dataset, skills, seeds=5):
    names = {"resnet_small": "ResNet, small", "lenet5": "LeNet-5"}
    rows = {"method": ROWS["method"]} | {
        name: ("baseline", names[name], {"network.name": name}, skill)
        for name, skill in skills.items()
    }
    run = make_run(tmp_path / "run", dataset, seeds=range(seeds))
    return read(add_comparison(run, dataset, rows))


def test_beats_every_baseline(tmp_path, dataset):
    html, info = compare(tmp_path, dataset, {"resnet_small": -1.0, "lenet5": -2.0})
    gap = info["comparison"]["verdict"]["gap"]
    assert (
        "The method beats every baseline. The method’s macro-F1 on the test images is "
        f"{gap['value']:.3f} (" in shown(html)
    )
    assert "higher than that of the best baseline, ResNet, small" in shown(html)
    assert html.index("beats every baseline") < html.index("tells")
    line = verdict_line(info["verdict"])
    assert f"that is {gap['value']:.3f} (" in line
    assert "higher than the best baseline, ResNet, small" in line


def test_beats_some_and_differs_from_none_of_the_others(tmp_path, dataset):
    html, _ = compare(tmp_path, dataset, {"resnet_small": 2.0, "lenet5": -2.0})
    assert "beats every" not in html
    assert "No difference between the method and the best baseline, ResNet, small" in shown(html)
    assert "Of 2 baselines it beats 1; for the rest no difference could be shown." in shown(html)


def test_is_beaten(tmp_path, dataset):
    html, info = compare(tmp_path, dataset, {"resnet_small": 9.0, "lenet5": -2.0})
    gap = info["comparison"]["verdict"]["gap"]
    assert gap["low"] > 0
    assert "The method is not better than other networks. Its macro-F1" in shown(html)
    assert "lower than that of the best baseline" in shown(html)
    assert "it beats 1 and is beaten by 1" in shown(html)


def test_few_networks_have_no_verdict(tmp_path, dataset):
    html, info = compare(tmp_path, dataset, {"resnet_small": -1.0, "lenet5": -2.0}, seeds=4)
    assert info["comparison"]["verdict"]["state"] == "few_networks"
    assert "beats" not in html
    assert "so few networks prove nothing; 5 are needed" in shown(html)
    assert "too few networks to tell it from the best baseline" in verdict_line(info["verdict"])


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
    assert "Of 6 rows, 5 have no predictions yet." in shown(html)
    assert "Whether the method is better than other networks is not known yet" in shown(html)
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


def test_one_row_that_lacks_leaves_the_verdict_open(compared_run):
    for path in (compared_run / "rows/lenet5").rglob("*.csv"):
        path.unlink()
    _, info = read(compared_run)
    assert info["comparison"]["verdict"] == {"state": "running"}
    assert [row["name"] for row in rows_of(info["comparison"], "baseline")[1:]] == [
        "resnet_small",
        "vgg_small",
    ]


def test_validation_images_stand_in_for_a_missing_test_part(tmp_path, dataset):
    run = make_run(tmp_path / "run", dataset, seeds=range(5))
    for path in (run / "predictions").glob("test-*.csv"):
        path.unlink()
    html, info = read(add_comparison(run, dataset, parts=("validation",)))
    assert info["comparison"]["part"] == "validation"
    assert "on the validation images" in shown(html)


def test_a_row_of_other_images_is_refused(compared_run):
    for path in (compared_run / "rows/lenet5").rglob("*.csv"):
        path.write_text("".join(path.read_text().splitlines(keepends=True)[:-1]))
    with pytest.raises(InputError, match="lenet5: its test images and the method's differ"):
        read(compared_run)


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
        "A probe is a network that keeps the weights that it starts with",
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
