"""The cost model."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.toy import toy_generators, toy_recipe
from thyroid import pipeline
from thyroid.distribute.costs import Costs, marginal
from thyroid.stage import Stage

DIGEST = "0" * 64


def classifier(**changes: object) -> list[Stage]:
    return pipeline.classifier(toy_recipe(**changes), DIGEST, 0)


def test_a_known_kind_of_stage_takes_its_rate_times_its_work() -> None:
    costs = Costs()
    one, *_ = classifier()
    costs.learn(one, 3.0)
    costs.learn(one, 5.0)
    assert costs.seconds(one) == pytest.approx(4.0)
    *_, four = classifier(
        schedule__warmup_epochs=0, schedule__constant_epochs=4, schedule__segment_epochs=4
    )[:1]
    assert four.config.epochs == 4
    assert costs.seconds(four) == pytest.approx(16.0)


def test_the_nearest_traits_decide_and_then_the_kind() -> None:
    costs = Costs()
    small, large = (classifier(network__name=n)[0] for n in ("resnet_small", "vgg_small"))
    costs.learn(small, 1.0)
    assert costs.seconds(large) == pytest.approx(1.0)  # of its kind no other is known
    costs.learn(large, 9.0)
    assert costs.seconds(small) == pytest.approx(1.0)
    assert costs.seconds(large) == pytest.approx(9.0)
    thinned = classifier(network__name="vgg_small", augmentation__thinning=0.5)[0]
    assert costs.seconds(thinned) == pytest.approx(9.0)
    four_times_the_pixels = classifier(network__name="resnet_small", input__size=64)[0]
    assert costs.seconds(four_times_the_pixels) == pytest.approx(4.0)


def test_a_long_chain_is_priced() -> None:
    """More segments than calls may follow."""
    stages = classifier(schedule__constant_epochs=1500)
    assert len(stages) == 1502
    costs = Costs()
    costs.learn(stages[0], 2.0)
    split = stages[0].inputs["split"].key
    assert marginal([stages[-1]], {split}, costs) == pytest.approx(2.0 * 1502)
    assert marginal([stages[-1]], {stages[-2].key, split}, costs) == pytest.approx(2.0)


def test_without_experience_longer_and_larger_stages_cost_more() -> None:
    costs = Costs()
    by_scale = {
        scale: sum(
            costs.seconds(s) for s in pipeline.dcgan(toy_generators(srgan__scale=scale), DIGEST, 0)
        )
        for scale in (1, 2)
    }
    assert by_scale[1] == pytest.approx(4 * by_scale[2])
    stages = pipeline.quality(toy_generators(), DIGEST, 0).lineage()
    assert all(costs.seconds(stage) > 0 for stage in stages)


def test_what_is_computed_is_free_and_so_is_what_it_was_made_from() -> None:
    costs = Costs()
    stages = classifier()
    whole = marginal([stages[-1]], (), costs)
    assert whole == pytest.approx(sum(costs.seconds(s) for s in stages[-1].lineage()))
    there = {stages[-2].key, pipeline.split(toy_recipe().split, DIGEST).key}
    assert marginal([stages[-1]], there, costs) == costs.seconds(stages[-1])
    assert marginal([stages[-1]], {stages[-1].key}, costs) == 0
    assert marginal([stages[-1], stages[-1]], (), costs) == whole  # once, however often wanted


def test_two_seeds_share_what_no_seed_matters_to() -> None:
    costs = Costs()
    first, second = (pipeline.classifier(toy_recipe(), DIGEST, s)[-1] for s in (0, 1))
    split = pipeline.split(toy_recipe().split, DIGEST)
    alone = marginal([first], (), costs) + marginal([second], (), costs)
    assert marginal([first, second], (), costs) == pytest.approx(alone - costs.seconds(split))


def test_it_imports_neither_torch_nor_ray() -> None:
    code = "import sys, thyroid.distribute.costs; assert not {'torch', 'ray'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
