"""The stage graph of cross-training: phases, and what they share."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.test_pipeline import DIGEST, keys, schedules
from tests.test_pipeline_generators import of_generators
from tests.toy import toy_generators, toy_recipe
from thyroid import pipeline
from thyroid.errors import InputError
from thyroid.recipe import RECIPES, CrossConfig, Recipe, ScheduleConfig, override
from thyroid.segments import segment_epochs, switch_epoch
from thyroid.stage import Stage

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
"""Fields that the single phase does not depend on."""


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
    # with order mixed, x_i is active from the start
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
    """Epochs of warm-up and constant rate; only a late switch reaches the decay."""
    recipes = [retraining(cross__epochs=epochs) for epochs in (first, second)]
    earlier = min(switch_epoch(recipe) for recipe in recipes)
    assert earlier == 15 - max(first, second)
    whole = [(0, 1), (1, 3), (4, 3), (7, 3), (10, 3), (13, 2)]
    shared = sum(start + epochs <= earlier for start, epochs in whole)
    stages = [pipeline.classifier(recipe, DIGEST, 0) for recipe in recipes]
    assert keys(stages[0])[:shared] == keys(stages[1])[:shared]
    if first != second:
        assert not set(keys(stages[0])[shared:]) & set(keys(stages[1])[shared:])
    for recipe, segments in zip(recipes, stages, strict=True):
        last = pipeline.before_cross(recipe, DIGEST, 0).config
        assert last.first_epoch + last.epochs == switch_epoch(recipe)
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
def test_label_filter_and_generators_do_not_depend_on_cross_training(field: str) -> None:
    values = {**CROSS_ALONE, "cross__order": "never", "cross__epochs": 7}
    recipe = toy_generators(**RETRAIN, cross__synthetic=0.25)
    changed = toy_generators(**{**RETRAIN, "cross__synthetic": 0.25, field: values[field]})
    assert of_generators(recipe) == of_generators(changed)


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


def test_another_data_set_as_the_test_part() -> None:
    recipe = retraining(split__test=0.0)
    elsewhere = pipeline.prediction(recipe, DIGEST, 0, "test", test_set="e" * 64)
    assert (elsewhere.dataset, elsewhere.config.part) == ("e" * 64, "all")
    assert set(elsewhere.inputs) == {"model"}
    own = pipeline.prediction(recipe, DIGEST, 0, "validation", test_set="e" * 64)
    assert own.key == pipeline.prediction(recipe, DIGEST, 0, "validation").key
    assert elsewhere.inputs["model"].key == own.inputs["model"].key
