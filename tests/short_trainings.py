"""Options of trainings that take seconds, for commands on the toy data set."""

from __future__ import annotations

from pathlib import Path

from tests.toy import write_toy

SHORT = ["--input.size", "32", "--network.width", "4", "--schedule.warmup-epochs", "0"]
SHORT += ["--schedule.constant-epochs", "2", "--schedule.decay-epochs", "1"]
SHORT += ["--schedule.segment-epochs", "1", "--split.folds", "1"]
FEW = [*SHORT, "--mixing.synthetic-share", "0", "--mixing.final-share", "0"]

TINY = ["--dcgan.latent", "8", "--dcgan.width", "4", "--dcgan.batch-size", "16"]
TINY += ["--dcgan.epochs", "2", "--dcgan.steps-per-epoch", "3", "--dcgan.segment-epochs", "1"]
TINY += ["--srgan.width", "4", "--srgan.blocks", "1", "--srgan.batch-size", "16"]
TINY += ["--srgan.pixel-epochs", "1", "--srgan.adversarial-epochs", "1"]
TINY += ["--srgan.steps-per-epoch", "2", "--synthesis.images-per-class", "8"]
TINY += ["--synthesis.images-per-cross", "6", "--synthesis.rejection", "1"]
TINY += [
    "--label-filter.warmup-epochs",
    "0",
    "--label-filter.constant-epochs",
    "2",
    "--label-filter.decay-epochs",
    "0",
]
"""Generators that train for seconds; `--mixing` determines whether they are used."""

MIXED = [*SHORT, *TINY, "--mixing.synthetic-share", "0.5", "--mixing.final-share", "0.5"]
MIXED += ["--mixing.cross-share", "None"]

RETRAIN = [*FEW, "--cross.order", "retrain", "--cross.epochs", "2"]
"""One epoch of single images, then two of cross images."""


def cross_data(folder: Path) -> Path:
    """The toy data set with cross images."""
    return write_toy(folder, crosses=24).folder


def artifacts(run: Path) -> dict[Path, int]:
    """The artifacts of the run's store, with the times at which they were made."""
    return {p: p.stat().st_mtime_ns for p in (run / "store" / "artifacts").glob("*/*")}
