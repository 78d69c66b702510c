"""Loss and metrics of the final trainings per epoch, network by network."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from reports.line_chart import coloured_folds
from reports.run import Run
from thyroid.run_files.metrics_jsonl import ClassifierEpoch, DcganEpoch, SrganEpoch

CURVES = ("train_loss", "validation_loss", "validation_accuracy", "validation_macro_f1")
Epoch = ClassifierEpoch | DcganEpoch | SrganEpoch
E = TypeVar("E", ClassifierEpoch, DcganEpoch, SrganEpoch)
Values = list[float | None]
"""One value for each epoch."""


@dataclass(frozen=True, kw_only=True)
class NetworkTraining:
    seed: int
    fold: int
    epoch: list[int]
    train_loss: Values
    """nats"""
    validation_loss: Values
    """nats"""
    validation_accuracy: Values
    validation_macro_f1: Values
    last: dict[str, float | None]
    """Values of the last epoch."""
    train_seconds: float
    images_per_second: float | None
    """Median over epochs."""


@dataclass(frozen=True, kw_only=True)
class Training:
    folds: int
    networks: list[NetworkTraining]
    coloured: list[int]
    """Folds that have their own colours in the figures."""
    cross_from: int | None
    """First epoch of the cross phase; None if there is none (yet)."""


def training_info(run: Run) -> Training | None:
    """The curves of each network; None if no epoch has ended."""
    if not run.epochs:
        return None
    networks = []
    for (seed, fold), rows in by_network(run.epochs).items():
        speeds = sorted(row.images_per_second for row in rows)
        networks.append(
            NetworkTraining(
                seed=seed,
                fold=fold,
                **columns(rows, CURVES),
                train_seconds=sum(row.train_seconds for row in rows),
                images_per_second=speeds[len(speeds) // 2],
            )
        )
    crossed = [row.epoch for row in run.epochs if row.phase == "cross"]
    return Training(
        folds=run.folds,
        networks=networks,
        coloured=coloured_folds(networks),
        cross_from=min(crossed, default=None),
    )


def by_network(rows: Iterable[E]) -> dict[tuple[int, int], list[E]]:
    """Lines of metrics.jsonl by seed and fold."""
    found: dict[tuple[int, int], list[E]] = {}
    for row in rows:
        found.setdefault((row.seed, row.fold), []).append(row)
    return dict(sorted(found.items()))


def columns(rows: Sequence[Epoch], names: Sequence[str]) -> dict[str, Any]:
    """Lines of one network as the fields `epoch`, `last`, and each of `names`."""
    every = ("epoch", *names)
    return {name: [getattr(row, name) for row in rows] for name in every} | {
        "last": {name: getattr(rows[-1], name) for name in every}
    }
