import itertools
import pickle
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.toy import toy_generators, toy_recipe
from thyroid import pipeline, stage_config
from thyroid import stage as stage_module
from thyroid.recipe import ScheduleConfig
from thyroid.segments import segment_epochs
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


def test_a_network_that_is_built_otherwise_has_other_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    """Otherwise a store would return weights of the former network."""
    names = ("vgg_small", "resnet_small")
    recipes = [
        toy_recipe(network__name=name, network__width=None, training=training)
        for name in names
        for training in ("network", "probe")
    ]

    def found() -> list[str]:
        return [pipeline.classifier(recipe, DIGEST, 0)[-1].key for recipe in recipes]

    now = found()
    monkeypatch.setattr(stage_config, "DESIGNS", {})
    before = found()
    assert [a == b for a, b in zip(before, now, strict=True)] == [False, False, True, True]


def test_a_long_chain_of_segments_can_be_sent() -> None:
    """Every worker gets a pickled chain; pickling it by recursion would exceed the stack."""
    recipe = toy_recipe(schedule__constant_epochs=400)
    final = pipeline.classifier(recipe, "d" * 64, 0)[-1]
    sent = pickle.loads(pickle.dumps(final))  # noqa: S301
    assert [stage.key for stage in sent.lineage()] == [stage.key for stage in final.lineage()]
    assert sent.inputs["previous"].inputs["split"] is sent.inputs["split"]


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


def test_seeds_share_nothing_but_the_split() -> None:
    lineages = [
        pipeline.classifier(toy_generators(), DIGEST, seed)[-1].lineage() for seed in (0, 1)
    ]
    first, second = ({stage.key: stage.kind for stage in lineage} for lineage in lineages)
    assert [first[key] for key in set(first) & set(second)] == ["split"]
