"""The stage graph of generators: their stages, and what these share."""

import pytest

from tests.test_pipeline import DIGEST, keys
from tests.toy import toy_generators, toy_recipe
from thyroid import pipeline
from thyroid.errors import InputError
from thyroid.recipe import RECIPES, Recipe, override


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
"""Fields that only affect synthetic images."""


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
"""Fields that a search changes and synthetic images do not depend on."""


@pytest.mark.parametrize("field", SEARCHED)
def test_trials_share_filter_generators_and_pool(field: str) -> None:
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


def test_a_longer_flow_goes_on_from_a_shorter_one() -> None:
    short, long = (
        pipeline.generator(
            toy_generators(generator="flow", flow__epochs=epochs, flow__segment_epochs=3),
            DIGEST,
            0,
        )
        for epochs in (6, 7)
    )
    assert keys(short) == keys(long)[:2]
    assert [(s.config.first_epoch, s.config.epochs) for s in long] == [(0, 3), (3, 3), (6, 1)]
    assert "previous" in long[1].inputs


def test_drawing_otherwise_takes_the_same_trained_flow() -> None:
    recipe, guided, wide = (
        toy_generators(generator="flow", **changes)
        for changes in ({}, {"flow__guidance": 1.0}, {"flow__width": 12})
    )
    trained = [pipeline.generator(each, DIGEST, 0)[-1].key for each in (recipe, guided, wide)]
    pools = [pipeline.synthesis(each, DIGEST, 0).key for each in (recipe, guided, wide)]
    assert trained[0] == trained[1] != trained[2]
    assert len(set(pools)) == 3


def test_what_other_generators_are_made_of_did_not_change() -> None:
    """Newer fields are not in the keys of stages that do not use them."""
    eigen = toy_generators(generator="eigen")
    (fitted,) = pipeline.generator(eigen, DIGEST, 0)
    assert set(fitted.about["config"]) == {"name", "source", "size", "execution", "seed"}
    for recipe in (eigen, toy_generators()):
        config = pipeline.synthesis(recipe, DIGEST, 0).about["config"]
        assert set(config) == {"synthesis", "size", "execution", "seed"}
        assert "pools" not in config["synthesis"]


def test_the_flow_needs_pictures_of_whole_blocks() -> None:
    with pytest.raises(InputError, match="a multiple of 4"):
        pipeline.generator(toy_generators(generator="flow", input__size=20), DIGEST, 0)


def test_segments_draw_from_the_pools_in_turn() -> None:
    one, three = (
        pipeline.classifier(toy_generators(synthesis__pools=pools), DIGEST, 0) for pools in (1, 3)
    )
    drawn = [[s.inputs["synthetic"].config.pool for s in segments] for segments in (one, three)]
    assert drawn == [[0, 0, 0, 0], [0, 1, 2, 0]]
    assert one[0].key == three[0].key
    assert one[1].key != three[1].key
    pools = [s.inputs["synthetic"] for s in three]
    assert pools[0].key == pools[3].key == one[0].inputs["synthetic"].key
    assert len({pool.inputs["dcgan"].key for pool in pools}) == 1
    assert pipeline.quality(toy_generators(synthesis__pools=3), DIGEST, 0).key == (
        pipeline.quality(toy_generators(), DIGEST, 0).key
    )


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


def test_vgg19_takes_the_label_filters_place_in_the_perceptual_loss() -> None:
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
    assert lengths[0] == lengths[1][-2:]  # the label filter stands first in its lineage


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
