"""Writes metrics.jsonl and trials.csv as event files that TensorBoard reads.

RUN/tensorboard/seed-S/fold-F/    each stage's metrics by epoch, such as `classifier/train_loss`
RUN/tensorboard/search/           searches only: each trial's outcome by its number
RUN/tensorboard/trials/N/         searches only: trial N's parameters and outcome (HPARAMS)

The same content gives the same bytes: an event's time is the seconds that were trained before it.
tensorboardX's SummaryWriter is not used: it puts the host's name into a file's name, writes `_` for
the `;` between findings, and takes 38 s for 1,000 trials, which take 3 s here.
"""

from __future__ import annotations

import contextlib
import math
import shutil
import uuid
from collections import defaultdict
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from thyroid.configuration import to_json
from thyroid.files import cannot_write, remove_at_once
from thyroid.run_files.metrics_jsonl import read_metrics
from thyroid.run_files.trials_csv import COLUMNS, Trial, read_trials

FOLDER = "tensorboard"
FILE = "events.out.tfevents.0"
"""TensorBoard looks for `tfevents` in a file's name."""
ABOUT = ("seed", "fold", "epoch")
"""Numbers in a line of metrics.jsonl that identify the training and epoch."""

Point = tuple[int, float, dict[str, float]]
"""Step, seconds, value by tag."""


def write_tensorboard(run: Path) -> None:
    """Rewrite RUN/tensorboard from RUN/metrics.jsonl and RUN/trials.csv.

    Raises
    ------
    StorageError
        When RUN/tensorboard cannot be written.
    """
    lines = [to_json(metrics) for metrics in read_metrics(run)]
    new = run / f".{FOLDER}.{uuid.uuid4().hex[:8]}"
    with cannot_write(run / FOLDER):
        try:
            of_network = defaultdict(list)
            for line in lines:
                of_network[line["seed"], line["fold"]].append(line)
            for (seed, fold), own in of_network.items():
                _write(new / f"seed-{seed}" / f"fold-{fold}", training_points(own))
            _write_trials(new, read_trials(run))
            remove_at_once(run / FOLDER)
            if new.exists():
                new.rename(run / FOLDER)
        finally:
            shutil.rmtree(new, ignore_errors=True)


def training_points(lines: Iterable[Mapping[str, Any]]) -> list[Point]:
    """Return one network's `stage/metric` by epoch, and `synthesis/metric/findings` at step 0."""
    seconds: dict[str, float] = defaultdict(float)
    points = []
    for line in lines:
        stage, findings = line["stage"], line.get("findings")
        values = {
            f"{stage}/{name}" + (f"/{findings}" if findings is not None else ""): float(value)
            for name, value in line.items()
            if name not in ABOUT and type(value) in (int, float)
        }
        seconds[stage] += line.get("train_seconds", 0.0)
        points.append((line.get("epoch", 0), seconds[stage], values))
    return points


def trial_points(trials: Iterable[Trial]) -> list[Point]:
    """Return `search/column` by trial number, and the best macro-F1 of complete trials so far."""
    best, points = -math.inf, []
    for trial in trials:
        values = {f"search/{name}": value for name, value in _numbers(trial).items()}
        if trial.state == "complete":
            best = max(best, values.get("search/macro_f1", -math.inf))
        if math.isfinite(best):
            values["search/best_macro_f1"] = best
        points.append((trial.number, 0.0, values))
    return points


def _numbers(trial: Trial) -> dict[str, float]:
    """Return a trial's outcome: all columns with a number, except the trial's own number."""
    values = {name: getattr(trial, name) for name in COLUMNS if name != "number"}
    return {name: value for name, value in values.items() if isinstance(value, int | float)}


def _write_trials(folder: Path, trials: list[Trial]) -> None:
    from tensorboardX.summary import hparams

    if not trials:
        return
    _write(folder / "search", trial_points(trials))
    for trial in trials:
        outcome = {f"trial/{name}": value for name, value in _numbers(trial).items()}
        about = hparams({"state": trial.state, **trial.parameters}, outcome)
        _write(folder / "trials" / str(trial.number), [(0, 0.0, outcome)], about)


def _write(folder: Path, points: Iterable[Point], about: Iterable[Any] = ()) -> None:
    """Write one event file, with the summaries `about` before the points."""
    from tensorboardX.proto.event_pb2 import Event
    from tensorboardX.proto.summary_pb2 import Summary
    from tensorboardX.record_writer import RecordWriter

    events = [Event(file_version="brain.Event:2"), *(Event(summary=one) for one in about)]
    for step, seconds, values in points:
        listed = [Summary.Value(tag=tag, simple_value=value) for tag, value in values.items()]
        events.append(Event(wall_time=seconds, step=step, summary=Summary(value=listed)))
    folder.mkdir(parents=True)
    with contextlib.closing(RecordWriter(str(folder / FILE))) as records:
        for event in events:
            records.write(event.SerializeToString(deterministic=True))
