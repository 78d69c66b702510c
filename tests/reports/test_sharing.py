"""Stages that a run computed and shared, and their tree."""

import json
import re

import pytest

from reports.run import read_run
from reports.sections.sharing import sharing_info
from reports.sections.stage_tree import MOST_ROWS, MOST_STAGES, stage_tree_info
from reports.sections.stage_tree_figures import tree_chart
from tests.reports.made_searches import add_stages, make_stages
from tests.reports.test_report import read
from tests.stub_config import with_config
from thyroid.errors import InputError
from thyroid.run_files.stages_json import NeededStage, read_stages, write_stages


def stage(key, kind, inputs=(), *, needs=1, seconds=1.0, found=False, **about) -> NeededStage:
    placed = {"seed": 0, "first_epoch": None, "epochs": None, "phase": None} | about
    users = tuple(f"trial {i}" for i in range(needs))
    return NeededStage(
        key=key,
        kind=kind,
        seconds=seconds,
        inputs=tuple(inputs),
        users=users,
        found=found,
        **placed,
    )


def segment(key, inputs, first, **about) -> NeededStage:
    return stage(key, "classifier", inputs, first_epoch=first, epochs=4, **about)


PIPELINE = [
    stage("split", "split", needs=3, seconds=0.5),
    segment("label_filter", ["split"], 0, needs=3),
    stage("d1", "dcgan", ["split"], needs=3, first_epoch=0, epochs=10, seconds=10, found=True),
    stage("s1", "srgan", ["split", "label_filter"], needs=3, first_epoch=0, epochs=5, seconds=5),
    stage("pool", "synthesis", ["split", "d1", "s1", "label_filter"], needs=3),
    segment("a", ["split", "pool"], 0, needs=3, seconds=4),
    segment("b", ["split", "pool", "a"], 4, needs=2, seconds=4),
    segment("c", ["split", "pool", "b"], 8),
    segment("d", ["split", "pool", "b"], 8, seconds=2),
    stage("p", "prediction", ["split", "c"], seconds=0.1),
]


def test_sums_are_those_of_the_definition(run):
    listed = make_stages(trials=9, segments=5, found=("dcgan", "split"))
    info = sharing_info(read_run(add_stages(run, trials=9, segments=5, found=("dcgan", "split"))))
    assert info.needed == pytest.approx(sum(s.seconds * s.needs for s in listed))
    assert info.computed == pytest.approx(sum(s.seconds for s in listed if not s.found))
    assert info.found == pytest.approx(sum(s.seconds for s in listed if s.found))
    assert info.needed == pytest.approx(info.computed + info.found + info.shared)
    assert info.factor == pytest.approx(info.needed / info.computed)
    for name in ("stages", "needed", "computed", "found", "shared"):
        assert sum(getattr(row, name) for row in info.kinds) == pytest.approx(getattr(info, name))
    kinds = [row.kind for row in info.kinds]
    assert kinds == ["split", "dcgan", "srgan", "synthesis", "classifier", "prediction"]
    assert info.kinds[1].factor is None  # nothing of it was computed


def test_the_page_says_what_was_computed(run):
    html, _ = read(add_stages(run, trials=9, segments=5, found=("dcgan",)))
    assert "Without sharing, the trainings of this run would have needed" in html
    assert "were in the store, computed by earlier runs" in html
    titles = re.findall(r"<h2[^>]*>(.*?)</h2>", html)
    assert titles[-6:] == [
        "Search",
        "What was computed",
        "Cases",
        "Data",
        "How to reproduce",
        "Limits",
    ]


def test_nothing_shared_is_said_so(run):
    html, info = read(add_stages(run, trials=1, segments=3, generators=False))
    assert info["sharing"]["factor"] == 1
    assert "no two trainings needed the same stage" in html


def test_everything_found_is_said_so(run):
    kinds = {s.kind for s in make_stages(trials=4)}
    html, info = read(add_stages(run, trials=4, found=kinds))
    assert info["sharing"]["factor"] is None
    assert "; none had to be computed" in html


def test_a_training_run_has_the_section_too(run):
    with_config(run, command="train", search=None)
    (run / "trials.csv").unlink()
    html, _ = read(add_stages(run, trials=1, seeds=(0, 1, 2)))
    assert 'id="sharing"' in html
    assert 'id="search"' not in html


def test_without_the_file_there_is_no_section(run):
    html, info = read(run)
    assert info["sharing"] is None
    assert "What was computed" not in html


def test_a_run_that_has_computed_nothing_yet(run):
    (run / "stages.json").write_text('{"format_version": 1, "stages": []}')
    assert read(run)[1]["sharing"] is None


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("key", None),
        ("kind", 3),
        ("seconds", float("nan")),
        ("seconds", -1.0),
        ("seconds", "long"),
        ("inputs", [1]),
        ("inputs", None),
        ("seed", "zero"),
        ("epochs", -4),
        ("phase", 1),
        ("users", [None]),
        ("users", []),
        ("users", None),
    ],
)
def test_a_damaged_stage_is_one_sentence(tmp_path, name, value):
    path = add_stages(tmp_path, trials=2) / "stages.json"
    damaged = json.loads(path.read_text())
    damaged["stages"][1][name] = value
    path.write_text(json.dumps(damaged))
    with pytest.raises(InputError, match=r"stages\.json is damaged: run the command that made it"):
        read_stages(tmp_path)


@pytest.mark.parametrize("text", ["", "{}", "[]", '{"stages": 3}', '{"stages": [[]]}', "\xff"])
def test_a_damaged_file_is_one_sentence(tmp_path, text):
    (tmp_path / "stages.json").write_bytes(text.encode("latin-1"))
    with pytest.raises(InputError, match="is damaged"):
        read_stages(tmp_path)


def test_a_stage_that_is_listed_twice_is_damage(tmp_path):
    write_stages(tmp_path, make_stages()[:1])
    path = tmp_path / "stages.json"
    content = json.loads(path.read_text())
    path.write_text(json.dumps(content | {"stages": content["stages"] * 2}))
    with pytest.raises(InputError, match="is damaged"):
        read_stages(tmp_path)


def test_the_tree_follows_the_pipeline():
    tree = stage_tree_info(PIPELINE)
    boxes = tree.boxes
    roles = [(b.role, b.first_epoch, b.follows, b.row, b.rows) for b in boxes]
    assert roles == [
        ("label_filter", 0, None, 0, 1),
        ("srgan", 0, None, 1, 1),
        ("dcgan", 0, None, 2, 2),
        ("synthesis", None, 2, 2, 2),
        ("classifier", 0, 3, 2, 2),
        ("classifier", 4, 4, 2, 2),
        ("classifier", 8, 5, 2, 1),
        ("classifier", 8, 5, 3, 1),
    ]
    assert [b.look for b in boxes] == ["shared"] * 2 + ["found"] + ["shared"] * 3 + ["single"] * 2
    assert (tree.rows, tree.stages, tree.drawn, tree.hidden) == (4, 8, 8, 0)
    assert tree.looks == ["found", "shared", "single"]


def test_nothing_to_draw_is_no_tree():
    assert stage_tree_info(PIPELINE[:1]) is None


def test_a_segment_whose_beginning_is_not_listed_stands_alone():
    tree = stage_tree_info([segment("c", ["gone"], 8)])
    assert [(b.role, b.follows) for b in tree.boxes] == [("classifier", None)]


def test_stages_that_need_each_other_do_not_hang():
    assert stage_tree_info([segment("a", ["b"], 0), segment("b", ["a"], 4)]) is None


SIZES = {
    "one trial": {"trials": 1, "segments": 3, "generators": False},
    "a search": {"trials": 32, "segments": 14, "found": ("dcgan",)},
    "a large search": {"trials": 1000, "segments": 12, "seeds": (0, 1), "spread": 40},
    "nothing alike": {"trials": 1000, "segments": 40, "generators": False, "spread": 10**6},
}


@pytest.mark.parametrize("about", SIZES.values(), ids=SIZES)
def test_the_tree_has_bounds_and_accounts_for_every_stage(about):
    stages = make_stages(**about)
    tree = stage_tree_info(stages)
    boxes = tree.boxes
    drawable = [s for s in stages if s.kind in ("dcgan", "srgan", "synthesis", "classifier")]
    assert tree.stages == len(drawable) == tree.drawn + tree.hidden
    assert tree.drawn == len(boxes) <= MOST_STAGES
    assert tree.hidden == tree.hidden_roots + sum(b.hidden for b in boxes)
    assert tree.rows <= MOST_ROWS
    assert len(tree_chart(tree)) < 200_000
    if about["trials"] < 1000:
        assert tree.hidden == 0
    else:
        assert tree.rows == MOST_ROWS or tree.drawn == MOST_STAGES


@pytest.mark.parametrize("about", SIZES.values(), ids=SIZES)
def test_boxes_lie_within_what_they_follow_and_never_over_another(about):
    tree = stage_tree_info(make_stages(**about))
    boxes = tree.boxes
    chart = tree_chart(tree)
    found = re.findall(r'<rect class="[^"]*" x="([^"]+)" y="([^"]+)" width="([^"]+)" he', chart)
    across = [(float(x), float(x) + float(width)) for x, _, width in found]
    assert len(across) == len(boxes)
    for place, box in enumerate(boxes):
        rows = range(box.row, box.row + box.rows)
        assert rows[-1] < tree.rows
        if box.follows is not None:
            before = boxes[box.follows]
            assert before.row <= rows[0]
            assert rows[-1] < before.row + before.rows
            assert across[box.follows][1] <= across[place][0]
        for other in range(place):
            apart = across[other][1] <= across[place][0] or across[place][1] <= across[other][0]
            below = boxes[other].row + boxes[other].rows <= box.row
            assert apart or below


def test_what_most_trainings_need_is_shown():
    stages = make_stages(**SIZES["a large search"])
    shown = [b.needs for b in stage_tree_info(stages).boxes if b.role == "dcgan"]
    assert sorted(shown) == sorted(s.needs for s in stages if s.kind == "dcgan")


def test_the_chart_tells_in_words_what_colours_tell():
    chart = tree_chart(stage_tree_info(PIPELINE))
    titles = re.findall(r"<title>(.*?)</title>", chart)
    assert titles[2] == (
        "DCGAN, seed 0, epochs 1 to 10: 10.0 s, found in the store, needed by 3 trainings "
        "(trial 0, trial 1, trial 2)"
    )
    assert titles[6].startswith("classifier, seed 0, epochs 9 to 12: ")
    assert "computed, needed by 1 training (trial 0)" in titles[6]
    assert "\N{MULTIPLICATION SIGN}3" in chart
    assert "A tree of 8 stages, of which 8 are drawn" in chart


def test_what_is_not_shown_is_said():
    tree = stage_tree_info(make_stages(**SIZES["nothing alike"]))
    assert f"and {tree.hidden_roots:,} more stages" in tree_chart(tree)


def test_a_judge_of_synthetic_images_stands_with_the_classifiers():
    real = segment("judge2", ["split", "pool"], 0)
    quality = stage("q", "quality", ["pool", "label_filter", "judge2"])
    boxes = stage_tree_info([*PIPELINE, real, quality]).boxes
    last = boxes[-1]
    assert (last.role, boxes[last.follows].role) == ("label_filter", "synthesis")


@pytest.mark.parametrize(("segments", "labels"), [(3, 3), (20, 1)])
def test_narrow_boxes_share_the_number_of_their_trainings(segments, labels):
    stages = [
        stage(f"d{i}", "dcgan", [f"d{i - 1}"], needs=40, first_epoch=5 * i, epochs=5)
        for i in range(segments)
    ]
    assert tree_chart(stage_tree_info(stages)).count("\N{MULTIPLICATION SIGN}40<") == labels
