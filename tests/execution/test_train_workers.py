"""How often a stage of several workers starts again when its machine is taken away. No Ray runs."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any

import pytest
from ray.train import FailureConfig, PreemptionError
from ray.train.v2._internal.execution.failure_handling import default
from ray.train.v2._internal.execution.failure_handling.failure_policy import FailureDecision
from ray.train.v2.api.preemption import PreemptionInfo

from tests.toy import toy_recipe, where
from thyroid import pipeline
from thyroid.errors import ProcessLost
from thyroid.execution import train_workers
from thyroid.execution.lost_processes import RETRIES
from thyroid.stage import Stage
from thyroid.storage.store import Store

DRAINED = PreemptionError(PreemptionInfo(deadline_ms=None, preempted_node_to_ranks={"node": [1]}))


class Trainer:
    """In the place of Ray's: its machine is always taken away."""

    configs: list[FailureConfig]

    def __init__(self, *_: object, run_config: Any, **__: object) -> None:
        self.configs.append(run_config.failure_config)

    def fit(self) -> None:
        """Do what Ray does when it does not restart."""
        raise DRAINED


@pytest.fixture
def stage(toy: Path) -> Stage:
    (digest,) = where(toy)
    return pipeline.classifier(toy_recipe(execution__workers=2), digest, 0)[0]


def test_a_drained_machine_ends_the_stage_after_our_retries_and_not_rays(
    stage: Stage, toy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Trainer.configs = []
    monkeypatch.setattr(train_workers, "TorchTrainer", Trainer)
    monkeypatch.setattr(train_workers, "dead_nodes", frozenset)
    monkeypatch.setattr(train_workers, "_inbox", lambda _: contextlib.nullcontext())
    with pytest.raises(ProcessLost, match="run the same command again"):
        list(train_workers.execute_on_workers(stage, Store(tmp_path), toy, {}))
    assert len(Trainer.configs) == RETRIES + 1
    for config in Trainer.configs:
        decision = default.DefaultFailurePolicy(config).make_decision(DRAINED)
        assert decision is FailureDecision.RAISE
