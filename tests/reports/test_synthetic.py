"""Synthetic scintigrams in the report: the numbers, the sentence, the section, its gaps."""

import base64
import io
import json
import re
import shutil
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from reports.estimates import Estimate
from reports.report import write_report
from reports.run import read_run
from reports.scintigrams import SheetGroup, inverted_grey, side_by_side
from reports.sections.generators import (
    FilteredImages,
    generators_info,
    real_and_synthetic,
)
from reports.sections.synthetic_gain import synthetic_gain_info, uses_synthetic
from reports.sections.verdict import synthetic_state, verdict_line
from tests.reports.made_runs import add_synthetic, make_dataset, make_run
from tests.reports.test_comparison import shown
from tests.reports.test_report import EVIL, Page, read
from tests.stub_config import stub_config, with_config
from thyroid.configuration import to_json
from thyroid.errors import InputError
from thyroid.evaluate.metrics import macro_f1
from thyroid.recipe import RECIPES, override

USING = stub_config(recipe={"mixing": {"synthetic_share": 0.5, "final_share": 0.0}})


@pytest.fixture(scope="module")
def content(tmp_path_factory, dataset):
    run = make_run(tmp_path_factory.mktemp("synthetic") / "run", dataset, seeds=range(5))
    return read_run(add_synthetic(run, dataset, new_crosses=("hot_nodule;cold_nodule",)))


# Numbers


def test_worth_is_the_difference_of_the_same_seeds(content):
    info = synthetic_gain_info(content)
    for row in info.by_network:
        for name, part in (
            ("with_synthetic", content.predictions),
            ("without_synthetic", content.without_synthetic),
        ):
            predicted = part["test"][row.seed]
            reached = macro_f1(predicted.labels, predicted.probabilities.argmax(1), 4)
            assert getattr(row, name) == pytest.approx(reached)
        assert row.difference == pytest.approx(row.with_synthetic - row.without_synthetic)
    assert (info.part, info.networks, info.images, info.patients) == ("test", 5, 36, 18)
    mean = np.mean([row.difference for row in info.by_network])
    gain = info.difference
    assert gain.value == pytest.approx(mean)
    assert info.with_synthetic - info.without_synthetic == pytest.approx(mean)
    assert gain.low < gain.value < gain.high
    assert 0 < info.p_value <= 1


def test_only_seeds_that_ran_both_ways_are_compared(synthetic_run):
    (synthetic_run / "predictions/without-synthetic/test-seed3.csv").unlink()
    info = synthetic_gain_info(read_run(synthetic_run))
    assert [row.seed for row in info.by_network] == [0, 1, 2, 4]


def test_validation_images_stand_in_for_a_missing_test_part(synthetic_run):
    for path in (synthetic_run / "predictions").rglob("test-*.csv"):
        path.unlink()
    assert synthetic_gain_info(read_run(synthetic_run)).part == "validation"
    html, info = read(synthetic_run)
    assert "macro-F1 on the validation images" in html
    assert "validation_only" in info["verdict"]["cautions"]


@pytest.mark.parametrize(
    ("low", "high", "seeds", "tried", "state"),
    [
        (0.004, 0.038, 5, 1, "raised"),
        (-0.038, -0.004, 5, 1, "lowered"),
        (-0.012, 0.020, 5, 1, "undecided"),
        (0.0, 0.020, 5, 1, "undecided"),
        (0.004, 0.038, 4, 1, "few_networks"),
        (0.004, 0.038, 5, 2, "selected"),
        (-0.038, -0.004, 5, 2, "selected"),
        (-0.012, 0.020, 5, 2, "undecided"),
        (0.004, 0.038, 4, 2, "few_networks"),
    ],
)
def test_state_of_the_verdict(low, high, seeds, tried, state):
    difference = Estimate(value=(low + high) / 2, low=low, high=high)
    gain = SimpleNamespace(difference=difference, networks=seeds, tried=tried)
    assert synthetic_state(USING, None, gain) == state


def test_state_without_a_comparison():
    assert synthetic_state(USING, None, None) == "unknown"
    assert synthetic_state(stub_config(), None, None) is None
    assert synthetic_state(stub_config(), ["magnitude"], None) is None
    assert synthetic_state(stub_config(), ["synthetic", "magnitude"], None) == "not_chosen"


def test_line_for_the_terminal_has_the_difference(synthetic_run):
    _, info = read(synthetic_run)
    gain, line = info["synthetic_gain"]["difference"], verdict_line(info["verdict"])
    assert f"synthetic images make a difference of {gain['value']:+.3f} (" in line


def test_curves_are_of_each_seed_and_stage(content):
    info = generators_info(content)
    assert [s.seed for s in info.dcgan.networks] == [0, 1, 2, 3, 4]
    assert info.dcgan.networks[0].epoch == list(range(1, 11))
    assert info.srgan.adversarial_from == 5
    assert info.srgan.networks[2].last["bicubic_psnr_db"] == 16.9
    assert len(content.epochs) == 5 * 12  # the classifier's lines alone


def test_dropped_images_are_summed_over_seeds(content):
    info = generators_info(content).filter
    lines = content.synthesised
    assert [row.name for row in info.rows] == [
        *content.classes,
        "graves;cold_nodule",
        "graves;hot_nodule",
        "hot_nodule;cold_nodule",
    ]
    normal = [line.dropped for line in lines if line.findings == "normal"]
    assert info.rows[0] == FilteredImages(
        name="normal", made=600, dropped=sum(normal), share=sum(normal) / 600
    )
    assert info.all.made == 5 * 7 * 120
    assert info.all.dropped == sum(line.dropped for line in lines)


def test_quality_overall_and_by_combination(content):
    info, rows = generators_info(content).quality, content.quality.rows
    assert [r.measure for r in info.overall] == [r.measure for r in rows if r.group == "all"]
    assert "frechet_distance" not in info.measures  # too few images of any combination
    assert [g.name for g in info.by_group][:4] == list(content.classes)
    recall = info.measures.index("recall")
    want = next(r for r in rows if (r.group, r.measure) == ("graves", "recall"))
    assert info.by_group[1].cells[recall] == want


def test_super_resolution_against_bicubic(content):
    info = generators_info(content).super_resolution
    assert [row.way for row in info.rows] == ["bicubic", "pixel", "adversarial"]
    assert info.psnr_gain_db == pytest.approx(0.4)
    assert info.nearer is True


def test_costs_are_means_over_seeds(content):
    costs = {row.name: row for row in generators_info(content).costs}
    assert list(costs) == ["dcgan", "srgan_pixel", "srgan_adversarial", "classifier"]
    assert [row.epochs for row in costs.values()] == [10, 4, 4, 12]
    seconds = sum(line.train_seconds for line in content.dcgan)
    assert costs["dcgan"].seconds == pytest.approx(seconds / 5)


def test_a_run_without_synthetic_images_has_none_of_it(run):
    html, info = read(run)
    assert info["synthetic_gain"] is None
    assert info["generators"] is None
    assert info["verdict"]["synthetic"] == {"state": None, "difference": None}
    assert 'id="generators"' not in html
    assert "ynthetic images" not in html


# Pictures


def test_pairs_have_pixels_of_the_same_size_and_the_same_grey(content, dataset):
    groups = real_and_synthetic(content)
    shown_pixels = [
        [
            np.asarray(Image.open(io.BytesIO(base64.b64decode(u.split(",")[1]))))
            for u in getattr(group, side)
        ]
        for group in groups
        for side in ("real", "synthetic")
    ]
    assert {p.shape for some in shown_pixels for p in some} == {(16, 16)}
    train = dataset.images["image_id"].map(content.parts) == "train"
    first = np.flatnonzero(train & (dataset.images["findings"] == "normal"))[0]
    summed = dataset.counts[first].reshape(16, 2, 16, 2).sum(axis=(1, 3))
    shown = Image.open(io.BytesIO(inverted_grey(summed)))
    assert np.array_equal(shown_pixels[0][0], np.asarray(shown))
    assert groups[-1].name == "hot_nodule;cold_nodule"
    assert (len(groups[-1].real), len(groups[-1].synthetic)) == (0, 3)


def test_classes_come_before_crosses_and_none_is_lost():
    def sheet(*names):
        return [SheetGroup(name=n, cross=";" in n, total=1, images=[n]) for n in names]

    groups = side_by_side(sheet("a", "b", "a;b"), sheet("b", "c", "b;c"))
    assert [g.name for g in groups] == ["a", "b", "c", "a;b", "b;c"]
    assert [len(g.real) for g in groups] == [1, 1, 0, 1, 0]
    assert [len(g.synthetic) for g in groups] == [0, 1, 1, 0, 1]


# The page


def test_the_section_stands_after_the_results_and_is_whole(synthetic_run):
    html, info = read(synthetic_run)
    titles = re.findall(r"<h2[^>]*>(.*?)</h2>", html)
    assert titles[2:5] == ["Training", "Synthetic scintigrams", "Search"]
    told = set(re.findall('<p class="pending">(.*?)</p>', html))
    assert "No training image shows this." in told
    assert len(told) == 2  # and importance, of eight trials
    page = Page(html)
    assert len([1 for tag, _ in page.tags if tag == "img"]) == 6 * 3 + 7 * 3 + 4 * 3
    section = Page(html[html.index('id="generators"') : html.index('id="search"')])
    assert len([1 for tag, _ in section.tags if tag == "svg"]) == 3
    assert html.count("<table") == html.count("<thead>")
    for measure in info["generators"]["quality"]["overall"]:
        assert html.count(f'value="{measure["synthetic"]}"') >= 1


@pytest.mark.parametrize(
    ("cross_share", "sentence"),
    [
        (
            None,
            "50 % of every training batch were such images; while the learning rate decayed, 25 %",
        ),
        (
            1.0,
            "50 % of every training batch were synthetic images of crosses alone; while the "
            "learning rate decayed, 25 %",
        ),
    ],
)
def test_which_images_a_batch_held_is_said(synthetic_run, cross_share, sentence):
    with_config(synthetic_run, recipe__mixing__cross_share=cross_share)
    words = re.sub(r"<[^>]+>", "", write_report(synthetic_run).read_text())
    assert f"At first {sentence} were." in " ".join(words.split())


def test_a_dose_is_the_share_of_every_batch(synthetic_run):
    """It overrides the shares, also in the cross phase."""
    with_config(
        synthetic_run,
        recipe__mixing={
            "synthetic_share": 0.0,
            "final_share": 0.0,
            "dose": 0.3,
            "cross_share": 1.0,
        },
        recipe__cross__order="retrain",
    )
    html, info = read(synthetic_run)
    assert info["generators"]["synthetic_share"] == info["generators"]["final_share"] == 0.3
    assert "30 % of every training batch were such images." in shown(html)


def test_findings_of_which_the_filter_left_no_image_are_told_beside_the_result(synthetic_run):
    _, info = read(synthetic_run)
    assert "emptied" not in info["verdict"]["cautions"]
    lines = (synthetic_run / "metrics.jsonl").read_text().splitlines()
    emptied = {"hot_nodule": 3, "graves;cold_nodule": 0}  # seeds
    for number, line in enumerate(lines):
        row = json.loads(line)
        if emptied.get(row.get("findings")) == row["seed"]:
            lines[number] = json.dumps(row | {"dropped": row["made"]})
    (synthetic_run / "metrics.jsonl").write_text("\n".join(lines) + "\n")
    html, info = read(synthetic_run)
    assert info["generators"]["filter"]["emptied"] == ["hot_nodule", "graves;cold_nodule"]
    assert "emptied" in info["verdict"]["cautions"]
    assert "of some findings (hot nodule, graves + cold nodule), so training drew" in shown(html)


def test_the_first_lines_say_whether_it_helped(synthetic_run):
    html, info = read(synthetic_run)
    assert info["verdict"]["synthetic"]["state"] == "undecided"
    lead = re.findall(r'<p class="lead">(.*?)</p>', html, re.DOTALL)[1]
    assert lead.startswith("Synthetic images did not demonstrably help. No difference in the macro")
    assert html.index(lead) < html.index('class="figures"')
    assert "so few networks" not in html


def test_images_that_helped_and_images_that_harmed(tmp_path, dataset):
    for name, skill, words in (
        ("raised", 0.0, "Synthetic images raised the macro-F1 on the test images: <strong><data"),
        ("lowered", 9.0, "Synthetic images did not help. They lowered the macro-F1 on the test"),
    ):
        run = make_run(tmp_path / name, dataset, seeds=range(5))
        html, info = read(add_synthetic(run, dataset, skill=skill))
        assert info["verdict"]["synthetic"]["state"] == name
        assert words in html


def test_few_networks_prove_nothing(tmp_path, dataset):
    html, info = read(add_synthetic(make_run(tmp_path / "few", dataset), dataset, skill=0.0))
    assert info["verdict"]["synthetic"]["state"] == "few_networks"
    assert "so few networks prove nothing" in html
    assert "Synthetic images raised" not in html


def test_a_search_that_chose_none_says_so(run):
    trials = (run / "trials.csv").read_text()
    (run / "trials.csv").write_text(
        trials.replace("param_augmentation.thinning,", "param_synthetic,")
    )
    html, _ = read(run)
    assert "chose a recipe without them" in html


GAPS = [
    ("predictions/without-synthetic", "The gain from synthetic images is not known"),
    ("synthetic/quality.json", "The quality of the synthetic images has not been measured yet"),
    ("synthetic/examples", "There are no synthetic images to show yet"),
    ("metrics.jsonl", "No epoch of a generator has ended yet"),
]


@pytest.mark.parametrize(("name", "words"), GAPS)
def test_what_is_missing_is_said_in_a_sentence(synthetic_run, name, words):
    target = synthetic_run / name
    shutil.rmtree(target) if target.is_dir() else target.unlink()
    html, _ = read(synthetic_run)
    assert words in html
    assert ("Training images are shown" in html) == (name != "synthetic/examples")


def test_a_run_that_has_only_begun(synthetic_run):
    for name in ("predictions", "synthetic", "metrics.jsonl", "trials.csv", "split.csv"):
        target = synthetic_run / name
        shutil.rmtree(target) if target.is_dir() else target.unlink()
    html, _ = read(synthetic_run)
    assert "no verdict" in html
    for _, words in GAPS[1:]:
        assert words in html


def test_without_the_data_set_synthetic_images_stand_alone(synthetic_run):
    with_config(synthetic_run, dataset__folder="gone/away")
    html, _ = read(synthetic_run)
    assert html.count("<img") == 7 * 3 + 4 * 3
    assert "not available for comparison" in html
    assert "No training image shows this" not in html


def test_pictures_without_counts(tmp_path):
    dataset = make_dataset(tmp_path / "pictures", kind="display")
    run = add_synthetic(make_run(tmp_path / "run", dataset), dataset)
    html, _ = read(run)
    assert "photons are counted at random" not in html


QUALITY = "synthetic/quality.json"


@pytest.mark.parametrize(
    ("name", "old", "new", "words"),
    [
        (QUALITY, None, "{", "quality.json is damaged"),
        (QUALITY, None, "[]", "quality.json is damaged"),
        (QUALITY, '"format_version": 1', '"format_version": 2', "quality.json is damaged"),
        (QUALITY, '"better": "higher"', '"better": "up"', "quality.json is damaged"),
        (QUALITY, '"bicubic": 16.9', '"bicubic": NaN', "quality.json is damaged"),
        (QUALITY, '"bicubic": 16.9', '"bicubic": "x"', "quality.json is damaged"),
        (QUALITY, '"images": 500', '"images": null', "quality.json is damaged"),
        ("synthetic/examples/counts.npy", None, "", "examples cannot be shown"),
        ("synthetic/examples/dataset.json", '"graves"', '"other"', "examples cannot be shown"),
        ("metrics.jsonl", '"made": 120', '"made": null', "metrics.jsonl, line"),
        (
            "metrics.jsonl",
            '"bicubic_psnr_db": 16.9',
            '"bicubic_psnr_db": "x"',
            "metrics.jsonl, line",
        ),
        (
            "metrics.jsonl",
            '"bicubic_psnr_db": 16.9',
            '"bicubic_psnr_db": NaN',
            "metrics.jsonl, line",
        ),
        ("predictions/without-synthetic/test-seed0.csv", None, "image_id\n", "no column"),
    ],
)
def test_a_damaged_file_is_one_sentence(synthetic_run, name, old, new, words):
    path = synthetic_run / name
    path.write_text(new if old is None else path.read_text().replace(old, new))
    with pytest.raises(InputError, match=re.escape(words)):
        write_report(synthetic_run)
    assert not (synthetic_run / "report.html").exists()


def test_examples_of_other_classes_are_refused(synthetic_run):
    shutil.rmtree(synthetic_run / "synthetic/examples")
    make_dataset(synthetic_run / "synthetic/examples", ("a", "b"), (), per_group=2)
    with pytest.raises(InputError, match="has other classes than this run"):
        write_report(synthetic_run)


def test_names_from_outside_are_escaped(tmp_path):
    dataset = make_dataset(tmp_path / "evil", EVIL, (";".join(EVIL[:2]),), per_group=12)
    run = add_synthetic(make_run(tmp_path / "run", dataset, seeds=range(5)), dataset)
    path = run / QUALITY
    path.write_text(
        path.read_text()
        .replace("label_fidelity", "<script>alert(1)</script>")
        .replace("The yardstick", "<script>alert(2)</script>")
    )
    page = Page(write_report(run).read_text())
    assert [tag for tag, _ in page.tags].count("script") == 1  # the page's own
    assert not any(name.startswith("on") for _, attrs in page.tags for name in attrs)
    assert any("<script>alert(2)" in text for text in page.text)


def test_size_of_a_large_study(tmp_path):
    classes = tuple(f"class_{i}" for i in range(7))
    crosses = tuple(f"class_{i};class_{i + 1}" for i in range(6))
    dataset = make_dataset(tmp_path / "large", classes, crosses, per_group=20, size=128)
    run = make_run(tmp_path / "run", dataset, seeds=range(5), trials=200, epochs=100)
    assert write_report(add_synthetic(run, dataset, size=128)).stat().st_size < 3_000_000


@pytest.mark.parametrize(
    ("order", "synthetic", "used"),
    [("mixed", 0.0, True), ("retrain", 0.5, True), ("retrain", 0.0, False), ("never", 0.5, False)],
)
def test_synthetic_crosses_are_used_where_there_is_a_phase_for_them(order, synthetic, used):
    changes = {"cross.order": order, "cross.synthetic": synthetic}
    recipe = to_json(override(RECIPES["paper"](), changes))
    assert uses_synthetic(stub_config(recipe=recipe)) is used
