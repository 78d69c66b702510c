"""The images that a segment trains on, real, synthetic and superposed, and their shares."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd
import torch
from torch import Generator, Tensor

from thyroid.augment import thin
from thyroid.data.dataset import Dataset
from thyroid.data.splits import Split
from thyroid.stage_config import CrossPhase, SegmentConfig
from thyroid.stages import synthesise
from thyroid.stages.batches import Source, drawn_synthetic, epoch_order, synthetic_weights
from thyroid.stages.compute import Compute, seed_of
from thyroid.stages.images import Held, Images, chunks, images, joined

PRIMARY_SHARE = (0.5, 0.8)
"""Range of the share of photons that come from the image with the primary finding."""

MOST_SUPERPOSED = 8192
"""Superpositions per training; they are kept in memory."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Group:
    """Images of one kind, with the weight at which each is drawn."""

    rows: Tensor
    """(M,) int64"""
    weights: Tensor | None = None
    """(M,) relative weights; None: all equal."""


@dataclass(frozen=True, kw_only=True, eq=False)
class TrainingSet:
    """All images of a segment, and the groups that its batches draw from."""

    counts: Images
    """M images"""
    targets: Tensor
    """(M, C) float32 on the CPU; each row sums to 1"""
    groups: Mapping[str, Group]
    """`real`, or `single` and `cross`; `synthetic` and, in a cross phase, `synthetic_single`;
    `superposed`. Empty groups are absent."""
    config: SegmentConfig
    synthetic: range = range(0)
    """Rows of the synthetic images."""

    def order(self, epoch: int, batch: int, steps: int, generator: Generator) -> Tensor:
        """The images of one epoch's batches, (steps * batch,) int64; `generator` on the CPU."""
        when = [epoch + (step + 0.5) / steps for step in range(steps)]
        sources = [
            Source(
                rows=self.groups[name].rows,
                weights=self.groups[name].weights,
                # Only in double precision do shares give exact whole numbers of images
                share=torch.tensor([s[name] for s in map(self.shares, when)], dtype=torch.float64),
            )
            for name in self.shares(epoch)
        ]
        return epoch_order(sources, batch, generator)

    def shares(self, epoch: float) -> dict[str, float]:
        """The share of each group in a batch at a (fractional) epoch."""
        config = self.config
        if config.cross is None:
            synthetic = config.synthetic.share if config.synthetic is not None else 0.0
            real = "real" if config.phase == "mixed" else "single"
            return {"synthetic": synthetic, real: 1 - synthetic} if synthetic else {real: 1.0}
        kinds = _cross_kinds(config, self.groups)
        if not kinds:  # no image shows more than one disease
            return {"single": 1.0}
        if "single" not in self.groups:
            return kinds
        cross = config.cross.share.at(epoch)
        shares = {name: cross * share for name, share in kinds.items()}
        if config.synthetic is not None and config.synthetic.of_all:
            shares["synthetic_single"] = (1 - cross) * config.synthetic.share
        return shares | {"single": 1 - sum(shares.values())}

    def count_synthetic(self, order: Tensor) -> int:
        """How many of these images (N,) are synthetic."""
        first, end = self.synthetic.start, self.synthetic.stop
        return int(((order >= first) & (order < end)).sum())


def _cross_kinds(config: SegmentConfig, groups: Mapping[str, Group]) -> dict[str, float]:
    """Shares of the groups that exist among a batch's cross images; they sum to 1."""
    assert config.cross is not None
    superposed = config.cross.superposed
    synthetic = config.synthetic.share if config.synthetic is not None else 0.0
    asked = {
        "superposed": superposed,
        "synthetic": synthetic,
        "cross": max(1 - superposed - synthetic, 0.0),
    }
    there = {name: share for name, share in asked.items() if share and name in groups}
    if not there:
        there = {name: 1.0 for name in asked if name in groups}
    return {name: share / sum(there.values()) for name, share in there.items()}


def training_set(
    config: SegmentConfig, inputs: Mapping[str, Path], dataset: Dataset, parts: Split, on: Compute
) -> TrainingSet:
    """Read the images that the segment's phase trains on.

    Raises
    ------
    InputError
        When synthetic images are asked for that the pool does not have.
    """
    classes, secondary = dataset.info.classes, config.secondary
    counts = images(dataset, parts.train, config.input, on)
    table = dataset.images.iloc[parts.train].reset_index(drop=True)
    collected = [counts]
    synthetic = range(0)
    targets = [targets_of(table["findings"], classes, secondary)]
    groups = _real(table, config)

    if config.synthetic is not None:
        pool, verdicts = synthesise.load(inputs["synthetic"])
        made = images(pool, np.arange(len(pool)), config.input, on)
        trust = config.synthetic.label_filter_weight
        meant = targets_of(pool.images["findings"], classes, secondary)
        mixed = (1 - trust) * meant + trust * verdicts
        before = sum(map(len, collected))
        synthetic = range(before, before + len(pool))
        for name, share in drawn_synthetic(config.synthetic).items():
            weights = synthetic_weights(table, pool.images, share)
            groups[name] = Group(rows=torch.tensor(synthetic), weights=weights)
        collected.append(made)
        targets.append(mixed)

    if config.cross is not None and config.cross.superposed:
        wanted = synthesise.combinations(dataset, parts.train, config.cross.crosses)
        crosses = [findings for findings in wanted if len(findings) > 1]
        first, second = superposition_pairs(table, crosses, config.seed)
        if len(first):
            own = on.generator(config.seed, "superposition")
            together = [
                superpose(counts[first[some]], counts[second[some]], own)
                for some in chunks(len(first))
            ]
            collected.append(Held(counts=torch.cat(together)))
            pair = table["label"].to_numpy()
            shown = [f"{pair[i]};{pair[j]}" for i, j in zip(first, second, strict=True)]
            targets.append(targets_of(shown, classes, secondary))
            start = sum(map(len, collected[:-1]))
            groups["superposed"] = Group(rows=torch.arange(len(first)) + start)

    return TrainingSet(
        counts=joined(collected, on),
        targets=torch.cat(targets),
        groups=groups,
        config=config,
        synthetic=synthetic,
    )


def targets_of(findings: Iterable[str], classes: Sequence[str], secondary: float) -> Tensor:
    """(N, C) float32: the primary finding's share, and equal parts of `secondary` for the others.

    >>> targets_of(["b", "b;a"], ("a", "b"), 0.25)
    tensor([[0.0000, 1.0000],
            [0.2500, 0.7500]])
    """
    place = {name: c for c, name in enumerate(classes)}
    rows = []
    for text in findings:
        primary, *others = text.split(";")
        row = [0.0] * len(classes)
        for name in others:
            row[place[name]] = secondary / len(others)
        row[place[primary]] = 1.0 - (secondary if others else 0.0)
        rows.append(row)
    return torch.tensor(rows)


def _real(table: pd.DataFrame, config: SegmentConfig) -> dict[str, Group]:
    """The groups of real training images, without those that are empty."""
    if config.phase == "mixed":
        return {"real": Group(rows=torch.arange(len(table)))}
    is_cross = table["findings"].str.contains(";").to_numpy(dtype=bool)
    single, cross = np.flatnonzero(~is_cross), np.flatnonzero(is_cross)
    if config.cross is not None:
        single = rehearsed(table["label"].to_numpy(), single, config.cross, config.seed)
    groups = {"single": single, "cross": cross}
    return {name: Group(rows=torch.from_numpy(r)) for name, r in groups.items() if len(r)}


def rehearsed(
    labels: npt.NDArray[np.object_], single: npt.NDArray[np.int64], cross: CrossPhase, seed: int
) -> npt.NDArray[np.int64]:
    """Single images that the cross phase still draws from: the same share of every class, rounded
    up, and the same images in every segment.
    """
    rng = np.random.default_rng(seed_of(seed, "rehearsal"))
    kept = []
    for label in sorted(set(labels[single])):
        of_class = rng.permutation(single[labels[single] == label])
        kept.append(of_class[: math.ceil(cross.rehearsal * len(of_class))])
    return np.sort(np.concatenate(kept)) if kept else single


def superposition_pairs(
    table: pd.DataFrame, crosses: list[tuple[str, ...]], seed: int
) -> tuple[Tensor, Tensor]:
    """Single images to superpose: (M,) and (M,) int64, rows of `table`; the first gives the label.

    All combinations get equally many pairs, in total as many as there are single images, at most
    about `MOST_SUPERPOSED`. A cross of three findings takes its first two. A combination with a
    finding that is never alone gets none.
    """
    is_single = ~table["findings"].str.contains(";")
    rows = {name: np.flatnonzero(is_single & (table["label"] == name)) for name in table["label"]}
    possible = [
        pair for pair in (c[:2] for c in crosses) if all(len(rows.get(name, ())) for name in pair)
    ]
    wanted = min(int(is_single.sum()), MOST_SUPERPOSED)
    each = math.ceil(wanted / max(len(possible), 1))
    rng = np.random.default_rng(seed_of(seed, "superposed pairs"))
    drawn = [[rng.choice(rows[name], each) for name in pair] for pair in possible]
    first, second = (
        np.concatenate([pair[i] for pair in drawn]) if drawn else np.empty(0, np.int64)
        for i in (0, 1)
    )
    return torch.from_numpy(first), torch.from_numpy(second)


def superpose(first: Tensor, second: Tensor, generator: Generator) -> Tensor:
    """Two patients' photons in one image: each photon of the first is kept with probability p,
    each of the second with 1 - p, p uniform in `PRIMARY_SHARE`.

    If these are Poisson images of activities a and b, the result is one of p a + (1 - p) b.

    (N, S, S) float32 twice, whole numbers -> (N, S, S) float32, whole numbers.
    """
    low, high = PRIMARY_SHARE
    u = torch.rand(len(first), generator=generator, device=generator.device)
    p = low + (high - low) * u
    return thin(first, p, generator) + thin(second, 1 - p, generator)
