import itertools
import pickle
import subprocess
import sys
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.toy import toy_generators, toy_recipe
from thyroid import pipeline
from thyroid import stage as stage_module
from thyroid.errors import InputError
from thyroid.pipeline import segment_epochs
from thyroid.recipe import RECIPES, CrossConfig, Recipe, ScheduleConfig, override
from thyroid.stage import KINDS, Kind, Stage
from thyroid.stage_config import Ramp

DIGEST = "d" * 64


def keys(stages: list[Stage]) -> list[str]:
    return [stage.key for stage in stages]


def test_a_key_says_what_decides_the_result() -> None:
    recipe = toy_recipe()
    key = pipeline.classifier(recipe, DIGEST, 0)[-1].key
    assert key == pipeline.classifier(recipe, DIGEST, 0)[-1].key
    changes = [
        toy_recipe(optimiser__learning_rate=1e-3),
        toy_recipe(split__seed=1),
        toy_recipe(execution__threads=2),
        toy_recipe(execution__precision="bf16"),
        toy_recipe(execution__workers=2),
        toy_recipe(augmentation__shift=0.0),
    ]
    others = [pipeline.classifier(changed, DIGEST, 0)[-1].key for changed in changes]
    others += [pipeline.classifier(recipe, DIGEST, 1)[-1].key]
    others += [pipeline.classifier(recipe, "e" * 64, 0)[-1].key]
    assert len({key, *others}) == len(others) + 1


def test_a_long_chain_of_segments_can_be_sent() -> None:
    """Pickle would follow it into a stack too deep, and every worker gets one."""
    recipe = toy_recipe(schedule__constant_epochs=400)
    final = pipeline.classifier(recipe, "d" * 64, 0)[-1]
    sent = pickle.loads(pickle.dumps(final))  # noqa: S301
    assert [stage.key for stage in sent.lineage()] == [stage.key for stage in final.lineage()]
    assert sent.inputs["previous"].inputs["split"] is sent.inputs["split"]


def test_what_is_known_ends_a_lineage() -> None:
    chain = pipeline.classifier(toy_recipe(), DIGEST, 0)
    final, before = chain[-1], chain[-2]
    split = final.inputs["split"]
    assert list(final.lineage({before.key})) == [split, final]
    assert list(final.lineage({before.key, split.key})) == [final]
    assert list(final.lineage({final.key})) == []


def test_the_stage_version_is_part_of_the_key(monkeypatch: pytest.MonkeyPatch) -> None:
    before = pipeline.classifier(toy_recipe(), DIGEST, 0)[-1].key
    newer = {**KINDS, "split": Kind(version=99, function="x:y")}
    monkeypatch.setattr(stage_module, "KINDS", newer)
    assert pipeline.classifier(toy_recipe(), DIGEST, 0)[-1].key != before


def test_trials_share_the_segments_of_a_common_history() -> None:
    short = pipeline.classifier(toy_recipe(schedule__constant_epochs=4), DIGEST, 0)
    long = pipeline.classifier(toy_recipe(schedule__constant_epochs=8), DIGEST, 0)
    assert keys(short)[:5] == keys(long)[:5]  # warm-up and four constant epochs
    assert not set(keys(short)[5:]) & set(keys(long))


def test_the_test_part_changes_no_training_key() -> None:
    recipe = toy_recipe()
    trained = pipeline.classifier(recipe, DIGEST, 0)
    for part in ("validation", "test"):
        assert pipeline.prediction(recipe, DIGEST, 0, part).inputs["model"].key == trained[-1].key
    assert len({pipeline.prediction(recipe, DIGEST, 0, p).key for p in ("validation", "test")}) == 2


def test_a_recipe_that_says_auto_has_no_key() -> None:
    with pytest.raises(ValueError, match="resolve"):
        pipeline.classifier(toy_recipe(execution__device="auto"), DIGEST, 0)


def test_lineage_lists_each_stage_once_after_what_it_needs() -> None:
    final = pipeline.prediction(toy_recipe(), DIGEST, 0, "test")
    lineage = list(final.lineage())
    assert [stage.kind for stage in lineage] == ["split", *["classifier"] * 4, "prediction"]
    seen: set[str] = set()
    for stage in lineage:
        assert {up.key for up in stage.inputs.values()} <= seen
        seen.add(stage.key)
    assert len(seen) == len(lineage)


schedules = st.builds(
    ScheduleConfig,
    warmup_epochs=st.integers(0, 9),
    constant_epochs=st.integers(1, 40),
    decay_epochs=st.integers(0, 20),
    segment_epochs=st.integers(1, 12),
)


@given(schedules)
def test_segments_cover_every_epoch_once_and_the_rate_has_no_jump(schedule: ScheduleConfig) -> None:
    segments = list(segment_epochs(schedule))
    covered = [e for first, epochs, _ in segments for e in range(first, first + epochs)]
    assert covered == list(range(schedule.epochs))
    assert all(epochs <= schedule.segment_epochs for _, epochs, _ in segments)
    for (first, epochs, rate), (_, _, following) in itertools.pairwise(segments):
        assert rate.at(first + epochs) == pytest.approx(following.at(first + epochs))
    assert segments[0][2].at(0) == (0.0 if schedule.warmup_epochs else 1.0)
    if schedule.decay_epochs:
        assert segments[-1][2].at(schedule.epochs) == 0.0


def test_a_ramp_is_linear_and_stays_at_its_ends() -> None:
    ramp = Ramp(first_epoch=10, epochs=4, start=1.0, stop=0.0)
    assert [ramp.at(e) for e in (0, 10, 11, 12, 14, 99)] == [1, 1, 0.75, 0.5, 0, 0]


def test_a_cosine_ramp_is_slow_at_its_ends() -> None:
    ramp = Ramp(first_epoch=10, epochs=4, start=0.0, stop=0.8, shape="cosine")
    expected = [0, 0, 0.4 * (1 - 0.5**0.5), 0.4, 0.4 * (1 + 0.5**0.5), 0.8, 0.8]
    assert [ramp.at(e) for e in (0, 10, 11, 12, 13, 14, 99)] == pytest.approx(expected)


@pytest.mark.parametrize(
    "module",
    ["thyroid.pipeline", "thyroid.recipe", "thyroid.storage.store", "thyroid.tuning.tune_search"],
)
def test_trial_drivers_import_no_torch(module: str) -> None:
    code = f"import sys, {module}; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], timeout=60).returncode == 0


def test_lineage_walks_a_diamond_once() -> None:
    corner = pipeline.split(toy_recipe().split, DIGEST)
    for _ in range(40):  # 2^40 paths
        inputs = {"left": corner, "right": corner}
        corner = Stage(kind="split", config=toy_recipe().split, dataset=DIGEST, inputs=inputs)
    assert len(list(corner.lineage())) == 41


def test_a_prediction_takes_one_worker() -> None:
    recipe = toy_recipe(execution__workers=2)
    assert pipeline.prediction(recipe, DIGEST, 0, "test").execution.workers == 1


def of_generators(recipe: Recipe) -> dict[str, list[str]]:
    """The keys of every stage that quality needs, by kind."""
    by_kind: dict[str, list[str]] = {}
    for stage in pipeline.quality(recipe, DIGEST, 0).lineage():
        by_kind.setdefault(stage.kind, []).append(stage.key)
    return by_kind


ELSEWHERE = {
    "dcgan__width": 8,
    "dcgan__epochs": 9,
    "srgan__scale": 1,
    "srgan__blocks": 2,
    "synthesis__rejection": 0.5,
    "synthesis__images_per_class": 3,
    "label_filter__constant_epochs": 5,
    "mixing__class_exponent": 0.0,
    "mixing__cross_share": 0.5,
    "mixing__label_filter_weight": 1.0,
}
"""Fields that say something about synthetic images only."""


@pytest.mark.parametrize("field", ELSEWHERE)
def test_a_run_without_synthetic_images_does_not_depend_on_what_they_would_be(field: str) -> None:
    plain, changed = toy_recipe(), toy_recipe(**{field: ELSEWHERE[field]})
    assert keys(pipeline.classifier(plain, DIGEST, 0)) == keys(
        pipeline.classifier(changed, DIGEST, 0)
    )
    mixed, other = toy_generators(), toy_generators(**{field: ELSEWHERE[field]})
    before, after = (pipeline.classifier(recipe, DIGEST, 0) for recipe in (mixed, other))
    assert not set(keys(before)) & set(keys(after))


def test_the_twin_without_synthetic_images_is_the_plain_run() -> None:
    from thyroid.runs.experiment import without_synthetic

    twin = pipeline.classifier(without_synthetic(toy_generators()), DIGEST, 0)
    assert keys(twin) == keys(pipeline.classifier(toy_recipe(), DIGEST, 0))
    mixed = pipeline.classifier(toy_generators(), DIGEST, 0)
    assert [s.config.epochs for s in twin] == [s.config.epochs for s in mixed]


SEARCHED = {
    "augmentation__thinning": 0.5,
    "augmentation__mirror": 0.5,
    "network__width": 8,
    "optimiser__learning_rate": 1e-4,
    "schedule__constant_epochs": 7,
    "mixing__synthetic_share": 1.0,
    "mixing__final_share": 0.0,
    "mixing__class_exponent": -1.0,
    "mixing__cross_share": 0.5,
    "mixing__label_filter_weight": 0.5,
}
"""What a search changes from trial to trial, and synthetic images do not depend on."""


@pytest.mark.parametrize("field", SEARCHED)
def test_trials_share_judge_generators_and_pool(field: str) -> None:
    recipe, changed = toy_generators(), toy_generators(**{field: SEARCHED[field]})
    assert (
        pipeline.label_filter(recipe, DIGEST, 0).key
        == pipeline.label_filter(changed, DIGEST, 0).key
    )
    assert of_generators(recipe) == of_generators(changed)
    trained = pipeline.classifier(recipe, DIGEST, 0)[-1]
    assert trained.key != pipeline.classifier(changed, DIGEST, 0)[-1].key


def test_trials_share_the_generators_of_another_filter() -> None:
    recipe, changed = toy_generators(), toy_generators(synthesis__rejection=0.5)
    before, after = of_generators(recipe), of_generators(changed)
    assert {kind for kind in before if before[kind] != after[kind]} == {
        "synthesis",
        "quality",
        "classifier",  # the one that is trained on the synthetic images
    }
    assert len(set(before["classifier"]) - set(after["classifier"])) == 2  # its two segments


def test_a_longer_dcgan_goes_on_from_a_shorter_one() -> None:
    short = pipeline.dcgan(toy_generators(dcgan__epochs=6, dcgan__segment_epochs=3), DIGEST, 0)
    long = pipeline.dcgan(toy_generators(dcgan__epochs=12, dcgan__segment_epochs=3), DIGEST, 0)
    assert len(long) == 4
    assert keys(short) == keys(long)[:2]
    assert [stage.config.first_epoch for stage in long] == [0, 3, 6, 9]
    uneven = pipeline.dcgan(toy_generators(dcgan__epochs=7, dcgan__segment_epochs=3), DIGEST, 0)
    assert [stage.config.epochs for stage in uneven] == [3, 3, 1]
    assert keys(uneven)[:2] == keys(short)


def test_the_dcgan_does_not_depend_on_how_a_network_sees_counts() -> None:
    logarithmic = toy_generators(input__normalisation="log_mean")
    assert keys(pipeline.dcgan(logarithmic, DIGEST, 0)) == keys(
        pipeline.dcgan(toy_generators(), DIGEST, 0)
    )
    assert (
        pipeline.label_filter(logarithmic, DIGEST, 0).key
        != pipeline.label_filter(toy_generators(), DIGEST, 0).key
    )


def test_the_size_of_the_dcgans_pictures() -> None:
    sizes = {1: 64, 2: 32, 4: 16}
    for scale, size in sizes.items():
        recipe = toy_generators(input__size=64, srgan__scale=scale)
        assert pipeline.dcgan(recipe, DIGEST, 0)[0].config.size == size
    for impossible in ({"input__size": 48}, {"input__size": 512}):
        with pytest.raises(InputError, match=r"one of 8, 16, 32, 64, 128"):
            pipeline.dcgan(toy_generators(**impossible), DIGEST, 0)


def test_segments_need_the_pool_where_they_draw_from_it() -> None:
    first = pipeline.classifier(toy_generators(mixing__final_share=0.0), DIGEST, 0)
    assert ["synthetic" in stage.inputs for stage in first] == [True, True, True, False]
    last = pipeline.classifier(toy_generators(mixing__synthetic_share=0.0), DIGEST, 0)
    assert ["synthetic" in stage.inputs for stage in last] == [False, False, False, True]
    plain = pipeline.classifier(toy_recipe(), DIGEST, 0)
    assert keys(last)[:3] == keys(plain)[:3]
    assert last[3].config.synthetic.share == 0.5
    assert not any(stage.config.synthetic for stage in last[:3])


def test_without_super_resolution_there_is_no_srgan() -> None:
    recipe = toy_generators(srgan__scale=1)
    assert pipeline.srgan(recipe, DIGEST, 0) == []
    assert "srgan" not in pipeline.synthesis(recipe, DIGEST, 0).inputs
    assert not {"srgan", "srgan_pixel"} & set(pipeline.quality(recipe, DIGEST, 0).inputs)


def test_srgan_segments_come_in_two_parts() -> None:
    recipe = toy_generators(
        srgan__pixel_epochs=3, srgan__adversarial_epochs=2, srgan__segment_epochs=2
    )
    stages = pipeline.srgan(recipe, DIGEST, 0)
    configs = [stage.config for stage in stages]
    assert [(c.first_epoch, c.epochs, c.adversarial) for c in configs] == [
        (0, 2, False),
        (2, 1, False),
        (3, 2, True),
    ]
    assert ["label_filter" in stage.inputs for stage in stages] == [False, False, True]
    assert pipeline.quality(recipe, DIGEST, 0).inputs["srgan_pixel"].key == stages[1].key
    assert pipeline.synthesis(recipe, DIGEST, 0).inputs["srgan"].key == stages[2].key


def test_vgg19_takes_the_judges_place_in_the_perceptual_loss() -> None:
    recipe = toy_generators(srgan__vgg19="f" * 64)
    final = pipeline.srgan(recipe, DIGEST, 0)[-1]
    assert "label_filter" not in final.inputs
    assert (final.inputs["vgg19"].kind, final.inputs["vgg19"].dataset) == ("weights", "f" * 64)


def test_who_measures_has_not_filtered() -> None:
    stage = pipeline.quality(toy_generators(), DIGEST, 0)
    pool = stage.inputs["synthetic"]
    assert stage.inputs["feature_network"].key != pool.inputs["label_filter"].key
    assert stage.inputs["feature_network"].key not in {s.key for s in pool.lineage()}
    assert stage.inputs["trained_on_real"].key == pool.inputs["label_filter"].key
    on_synthetic = stage.inputs["trained_on_synthetic"]
    assert on_synthetic.inputs["synthetic"].key == pool.key
    assert on_synthetic.config.synthetic.share == 1.0
    lengths = [
        [s.config.epochs for s in side.lineage() if s.kind == "classifier"]
        for side in (stage.inputs["trained_on_real"], on_synthetic)
    ]
    assert lengths[0] == lengths[1][-2:]  # the filter's judge stands first in its lineage


def test_seeds_share_nothing_but_the_split() -> None:
    lineages = [
        pipeline.classifier(toy_generators(), DIGEST, seed)[-1].lineage() for seed in (0, 1)
    ]
    first, second = ({stage.key: stage.kind for stage in lineage} for lineage in lineages)
    assert [first[key] for key in set(first) & set(second)] == ["split"]


def test_what_is_not_trained_takes_one_worker() -> None:
    recipe = toy_generators(execution__workers=2)
    for stage in (pipeline.synthesis(recipe, DIGEST, 0), pipeline.quality(recipe, DIGEST, 0)):
        assert stage.execution.workers == 1
    for trained in (pipeline.dcgan(recipe, DIGEST, 0), pipeline.srgan(recipe, DIGEST, 0)):
        assert trained[-1].execution.workers == 2


def test_small_runs_through_all_generators() -> None:
    small = override(RECIPES["small"](), {"execution.precision": "fp32", "execution.device": "cpu"})
    segments = pipeline.classifier(small, DIGEST, 0)
    kinds = [stage.kind for stage in segments[-1].lineage()]
    for kind in ("dcgan", "srgan", "synthesis", "classifier"):
        assert kind in kinds
    shares = [s.config.synthetic.share if s.config.synthetic else 0 for s in segments]
    until = small.schedule.warmup_epochs + small.schedule.constant_epochs
    assert shares == [0.2 if s.config.first_epoch < until else 0 for s in segments]
    assert {0.2, 0} == set(shares)


RETRAIN = {
    "cross__order": "retrain",
    "cross__epochs": 5,
    "schedule__constant_epochs": 12,
    "schedule__decay_epochs": 2,
    "schedule__segment_epochs": 3,
}
"""Fifteen epochs, of which the last five are the cross phase."""


def retraining(**changes: Any) -> Recipe:
    return toy_recipe(**RETRAIN | changes)


def phases(stages: list[Stage]) -> list[tuple[int, int, str]]:
    return [(s.config.first_epoch, s.config.epochs, s.config.phase) for s in stages]


def single(recipe: Recipe) -> list[str]:
    """Keys of the segments before the cross phase."""
    return keys([s for s in pipeline.classifier(recipe, DIGEST, 0) if s.config.phase == "single"])


@given(schedules, st.integers(1, 60), st.sampled_from([0.25, 1.0, 2.0]))
def test_no_segment_lies_in_two_phases(
    schedule: ScheduleConfig, epochs: int, factor: float
) -> None:
    plain = [
        (e, rate) for first, n, rate in segment_epochs(schedule) for e in range(first, first + n)
    ]
    for order in ("mixed", "never", "retrain"):
        cross = CrossConfig(order=order, epochs=epochs, rate=factor)
        segments = list(segment_epochs(schedule, cross))
        covered = [e for first, n, _ in segments for e in range(first, first + n)]
        assert covered == list(range(schedule.epochs))
        assert all(n <= schedule.segment_epochs for _, n, _ in segments)
        switch = schedule.epochs - epochs if order == "retrain" else schedule.epochs
        for first, n, rate in segments:
            assert first >= switch or first + n <= max(switch, 0)
            slowed = factor if first >= switch else 1.0
            for epoch in range(first, first + n):
                assert rate.at(epoch + 0.5) == pytest.approx(
                    slowed * plain[epoch][1].at(epoch + 0.5)
                )


def test_phases_of_each_order() -> None:
    by_order = {
        order: phases(pipeline.classifier(retraining(cross__order=order), DIGEST, 0))
        for order in ("mixed", "never", "retrain")
    }
    whole = [(0, 1), (1, 3), (4, 3), (7, 3), (10, 3), (13, 2)]
    assert by_order["mixed"] == [(*segment, "mixed") for segment in whole]
    assert by_order["never"] == [(*segment, "single") for segment in whole]
    assert by_order["retrain"] == [
        *((*segment, "single") for segment in whole[:4]),
        *((*segment, "cross") for segment in whole[4:]),
    ]


CROSS_ALONE = {
    "cross__share": 0.25,
    "cross__ramp": "cosine",
    "cross__rehearsal": 0.5,
    "cross__rate": 0.5,
    "cross__trainable": "head",
    "cross__superposed": 0.5,
    "cross__secondary": 0.25,
    "network__cross_feature": "stem",
}
"""What the single phase does not depend on."""


@pytest.mark.parametrize("field", CROSS_ALONE)
def test_runs_share_their_single_phase_whatever_follows(field: str) -> None:
    recipe, changed = retraining(), retraining(**{field: CROSS_ALONE[field]})
    assert len(single(recipe)) == 4
    assert single(recipe) == single(changed)
    before, after = (keys(pipeline.classifier(r, DIGEST, 0)) for r in (recipe, changed))
    assert not set(before[4:]) & set(after[4:])
    assert before[:4] == keys(pipeline.classifier(retraining(cross__order="never"), DIGEST, 0))[:4]
    first, second = (pipeline.before_cross(r, DIGEST, 0).key for r in (recipe, changed))
    assert first == second == before[3]


@pytest.mark.parametrize("field", [f for f in CROSS_ALONE if f not in ("cross__secondary",)])
@pytest.mark.parametrize("order", ["mixed", "never"])
def test_a_run_without_a_cross_phase_does_not_depend_on_what_it_would_be(
    field: str, order: str
) -> None:
    plain = retraining(cross__order=order)
    changed = retraining(**{"cross__order": order, field: CROSS_ALONE[field]})
    same = keys(pipeline.classifier(plain, DIGEST, 0)) == keys(
        pipeline.classifier(changed, DIGEST, 0)
    )
    # x_i is open throughout where cross images are mixed in
    assert same != (order == "mixed" and field.startswith("network"))


def test_secondary_findings_matter_wherever_crosses_are_seen() -> None:
    for order, matters in [("mixed", True), ("retrain", True), ("never", False)]:
        plain, changed = (
            pipeline.classifier(retraining(cross__order=order, cross__secondary=s), DIGEST, 0)[-1]
            for s in (0.0, 0.25)
        )
        assert (plain.key != changed.key) == matters


@given(st.integers(1, 14), st.integers(1, 14))
def test_switches_share_all_whole_segments_before_the_earlier_one(first: int, second: int) -> None:
    """Of the warm-up and the constant rate; the decay is reached by a late switch alone."""
    recipes = [retraining(cross__epochs=epochs) for epochs in (first, second)]
    earlier = min(pipeline.switch_epoch(recipe) for recipe in recipes)
    assert earlier == 15 - max(first, second)
    whole = [(0, 1), (1, 3), (4, 3), (7, 3), (10, 3), (13, 2)]
    shared = sum(start + epochs <= earlier for start, epochs in whole)
    stages = [pipeline.classifier(recipe, DIGEST, 0) for recipe in recipes]
    assert keys(stages[0])[:shared] == keys(stages[1])[:shared]
    if first != second:
        assert not set(keys(stages[0])[shared:]) & set(keys(stages[1])[shared:])
    for recipe, segments in zip(recipes, stages, strict=True):
        last = pipeline.before_cross(recipe, DIGEST, 0).config
        assert last.first_epoch + last.epochs == pipeline.switch_epoch(recipe)
        cross = [s.config.epochs for s in segments if s.config.phase == "cross"]
        assert sum(cross) == recipe.cross.epochs


def test_a_cross_phase_of_all_epochs_is_refused() -> None:
    for epochs in (15, 99):
        with pytest.raises(InputError, match=rf"cross.epochs {epochs} leaves nothing of the sch"):
            pipeline.classifier(retraining(cross__epochs=epochs), DIGEST, 0)
    for order in ("mixed", "never"):
        pipeline.classifier(retraining(cross__epochs=99, cross__order=order), DIGEST, 0)


def test_x_i_is_in_the_network_from_the_first_cross_images_on() -> None:
    sources = {
        order: [
            stage.config.network.cross_feature
            for stage in pipeline.classifier(
                retraining(cross__order=order, network__cross_feature="input"), DIGEST, 0
            )
        ]
        for order in ("mixed", "never", "retrain")
    }
    assert sources == {
        "mixed": ["input"] * 6,
        "never": ["none"] * 6,
        "retrain": ["none"] * 4 + ["input"] * 2,
    }


def test_the_phases_have_synthetic_images_of_their_own() -> None:
    changes = {**RETRAIN, "cross__synthetic": 0.25, "mixing__cross_share": 0.75}
    shares = [
        stage.config.synthetic
        and (stage.config.synthetic.share, stage.config.synthetic.cross_share)
        for stage in pipeline.classifier(
            toy_generators(**changes, mixing__synthetic_share=0.5), DIGEST, 0
        )
    ]
    assert shares == [(0.5 * (1 - 0.75), 0.0)] * 4 + [(0.25, 1.0)] * 2
    none = toy_generators(**changes, mixing__synthetic_share=0.0, mixing__final_share=0.0)
    stages = pipeline.classifier(none, DIGEST, 0)
    assert ["synthetic" in stage.inputs for stage in stages] == [False] * 4 + [True] * 2
    assert single(none) == single(retraining())


@pytest.mark.parametrize("field", [*CROSS_ALONE, "cross__order", "cross__epochs"])
def test_judge_and_generators_do_not_depend_on_cross_training(field: str) -> None:
    values = {**CROSS_ALONE, "cross__order": "never", "cross__epochs": 7}
    recipe = toy_generators(**RETRAIN, cross__synthetic=0.25)
    changed = toy_generators(**{**RETRAIN, "cross__synthetic": 0.25, field: values[field]})
    assert of_generators(recipe) == of_generators(changed)


def test_another_data_set_as_the_test_part() -> None:
    recipe = retraining(split__test=0.0)
    elsewhere = pipeline.prediction(recipe, DIGEST, 0, "test", test_set="e" * 64)
    assert (elsewhere.dataset, elsewhere.config.part) == ("e" * 64, "all")
    assert set(elsewhere.inputs) == {"model"}
    own = pipeline.prediction(recipe, DIGEST, 0, "validation", test_set="e" * 64)
    assert own.key == pipeline.prediction(recipe, DIGEST, 0, "validation").key
    assert elsewhere.inputs["model"].key == own.inputs["model"].key


@pytest.mark.parametrize(
    ("cross_share", "of_single"), [(None, 0.4), (0.0, 0.4), (0.25, 0.3), (1.0, 0.0)]
)
def test_the_single_phase_takes_the_single_part_of_the_synthetic_share(
    cross_share: float | None, of_single: float
) -> None:
    mixing = {"mixing__synthetic_share": 0.4, "mixing__final_share": 0.4}
    recipe = retraining(mixing__cross_share=cross_share, **mixing)
    for stage in pipeline.classifier(recipe, DIGEST, 0):
        if stage.config.phase == "single":
            share = stage.config.synthetic.share if stage.config.synthetic else 0.0
            assert share == pytest.approx(of_single)
    assert recipe.synthetic == (of_single > 0)


def test_the_paper_recipe_goes_through_all_its_parts() -> None:
    paper = override(RECIPES["paper"](), {"execution.precision": "fp32", "execution.device": "cpu"})
    segments = pipeline.classifier(paper, DIGEST, 0)
    assert {stage.kind for stage in segments[-1].lineage()} >= {"dcgan", "srgan", "synthesis"}
    assert sum(s.config.epochs for s in segments) == 100
    assert sum(s.config.epochs for s in segments if s.config.phase == "cross") == 30
    used = {s.config.phase: s.config.synthetic for s in segments}
    assert used["single"] is None
    assert used["cross"] is not None
    assert used["cross"].share == 0.5
    assert segments[-1].config.network.cross_feature == "input"
