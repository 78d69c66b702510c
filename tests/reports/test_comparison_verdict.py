"""The verdict of a comparison: on which baselines, with which budgets, after which failures."""

import json
import re
from types import SimpleNamespace

from reports.estimates import Estimate
from reports.report import write_report
from reports.sections.comparison_rows import DifferenceAtLevel
from reports.sections.comparison_verdict import comparison_verdict
from reports.sections.verdict import verdict_line
from tests.reports.made_predictions import ROWS, add_comparison
from tests.reports.made_runs import make_run
from tests.reports.test_comparison import rows_of, shown
from tests.reports.test_report import read


def verdict_of(*states, parameters=(), failed=()):
    """The verdict on baselines with these states, of which the last is the best.

    The method has 1,000 parameters. `parameters` are those of each baseline, and `failed` is the
    number of its five trainings that failed.
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


def test_verdict_without_baselines():
    assert verdict_of().state == "none"


def set_failed(run, name, failed, again=5):
    rows = json.loads((run / "rows.json").read_text())
    for row in rows["rows"]:
        row["trainings"] = 5
        if row["name"] == name:
            row["failed_at_first"] = again
            row["failed"] = [{"seed": s, "fold": 0, "reason": "chance"} for s in range(failed)]
    (run / "rows.json").write_text(json.dumps(rows))


def compare(tmp_path, dataset, skills, seeds=5):
    names = {"resnet_small": "ResNet, small", "lenet5": "LeNet-5"}
    rows = {"method": ROWS["method"]} | {
        name: ("baseline", names[name], {"network.name": name}, skill)
        for name, skill in skills.items()
    }
    run = make_run(tmp_path / "run", dataset, seeds=range(seeds))
    return read(add_comparison(run, dataset, rows))


def test_failures_stand_beside_the_verdict(tmp_path, dataset):
    """A network whose training failed is reported as failed, with or without predictions."""
    skills = {"resnet_small": -1.0, "lenet5": -2.0}
    html, info = compare(tmp_path, dataset, skills)
    run = tmp_path / "run"
    of = info["verdict"]["comparison"]["opponents"]
    low, high = (of["detectable"][end] for end in ("low", "high"))
    assert f"in four of five such runs is {low:.3f} to {high:.3f}, depending on the" in shown(html)
    assert "Each recipe, including the method’s, is the best of 3 that were tried on" in shown(html)
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
    cells = re.search(r">LeNet-5 <span(.*?)</tr>", html, re.S)[1].split("<td>")
    assert [n for n, cell in enumerate(cells) if cell == "</td>"] == [3, 5]  # neither p is given
    assert "The method beats every baseline that counts." in shown(html)
    assert "failed trainings: LeNet-5 5 of 5" in verdict_line(info["verdict"])
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
    assert "every network that it was compared with had failed trainings" in shown(html)


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
    said = "tried on validation images, and each baseline’s is the best of 1: part"
    assert said in shown(html)
    assert "best of 16 tried, each baseline's of 1" in verdict_line(info["verdict"])
    cells = re.findall(r"<td>([^<]*)</td></tr>", html.replace("\n", ""))
    table = next(t for t in info["comparison"]["tables"] if t["kind"] == "baseline")
    assert [row["trials"] for row in table["rows"]] == [16, 0, 0, 0]
    assert "as given" in cells
    zh = write_report(compared_run, lang="zh").read_text()
    assert "本方法的训练方案是在验证图像上尝试的" in zh
    set_trials(compared_run, method=19, baseline=4)
    assert "each baseline’s is the best of 4:" in shown(read(compared_run)[0])


def test_ablations_alone_have_the_methods_budget(compared_run):
    rows = json.loads((compared_run / "rows.json").read_text())
    rows["rows"] = [row for row in rows["rows"] if row["kind"] != "baseline"]
    (compared_run / "rows.json").write_text(json.dumps(rows))
    set_trials(compared_run, method=16)
    assert "is the best of 16" not in shown(read(compared_run)[0])


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
    assert "It beats 1 of 2 baselines; for the others no difference could be shown." in shown(html)


def test_is_beaten(tmp_path, dataset):
    html, info = compare(tmp_path, dataset, {"resnet_small": 9.0, "lenet5": -2.0})
    gap = info["comparison"]["verdict"]["gap"]
    assert gap["low"] > 0
    assert "The method is not better than other networks. Its macro-F1" in shown(html)
    assert "lower than that of the best baseline" in shown(html)
    assert "It beats 1 of 2 baselines and is beaten by 1" in shown(html)


def test_few_networks_have_no_verdict(tmp_path, dataset):
    html, info = compare(tmp_path, dataset, {"resnet_small": -1.0, "lenet5": -2.0}, seeds=4)
    assert info["comparison"]["verdict"]["state"] == "few_networks"
    assert "beats" not in html
    assert "so few networks prove nothing; 5 are needed" in shown(html)
    assert "too few networks to tell it from the best baseline" in verdict_line(info["verdict"])


def test_one_row_that_lacks_leaves_the_verdict_open(compared_run):
    for path in (compared_run / "rows/lenet5").rglob("*.csv"):
        path.unlink()
    _, info = read(compared_run)
    assert info["comparison"]["verdict"] == {"state": "running"}
    assert [row["name"] for row in rows_of(info["comparison"], "baseline")[1:]] == [
        "resnet_small",
        "vgg_small",
    ]
