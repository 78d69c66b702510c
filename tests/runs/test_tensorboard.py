"""The event files have the values of metrics.jsonl and trials.csv."""

from __future__ import annotations

import json
import math
import struct
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from tensorboardX.proto.event_pb2 import Event
from tensorboardX.proto.plugin_hparams_pb2 import HParamsPluginData

from thyroid.run_files.metrics_jsonl import ClassifierEpoch, write_metrics
from thyroid.run_files.trials_csv import Trial, write_trials
from thyroid.runs.tensorboard import write_tensorboard


def records(path: Path) -> Iterator[bytes]:
    """Yield the data of TFRecords: length, its checksum, data, their checksum."""
    content = path.read_bytes()
    while content:
        (length,) = struct.unpack("<Q", content[:8])
        yield content[12 : 12 + length]
        content = content[16 + length :]


def events(folder: Path) -> list[Event]:
    (path,) = folder.glob("*tfevents*")
    read = [Event.FromString(record) for record in records(path)]
    assert read[0].file_version == "brain.Event:2"
    return read[1:]


def scalars(folder: Path) -> dict[tuple[str, int], float]:
    found: dict[tuple[str, int], float] = {}
    for event in events(folder):
        for value in event.summary.value:
            if value.WhichOneof("value") == "simple_value":
                assert (value.tag, event.step) not in found
                found[value.tag, event.step] = value.simple_value
    return found


def numbers_of_metrics(run: Path, seed: int) -> dict[tuple[str, int], float]:
    """Return what the event file of a seed's first network must hold."""
    found = {}
    for line in map(json.loads, (run / "metrics.jsonl").read_text().splitlines()):
        if (line["seed"], line["fold"]) != (seed, 0):
            continue
        of = f"/{line['findings']}" if "findings" in line else ""
        for name, value in line.items():
            is_number = isinstance(value, float | int) and not isinstance(value, bool)
            if is_number and name not in ("seed", "fold", "epoch"):
                found[f"{line['stage']}/{name}{of}", line.get("epoch", 0)] = value
    return found


def same_as_metrics(run: Path, seeds: int) -> bool:
    """Assert that RUN/tensorboard/ has the numbers of RUN/metrics.jsonl; return True."""
    folders = sorted((run / "tensorboard").glob("seed-*"))
    assert [folder.name for folder in folders] == [f"seed-{seed}" for seed in range(seeds)]
    for seed, folder in enumerate(folders):
        asked = numbers_of_metrics(run, seed)
        assert scalars(folder / "fold-0") == pytest.approx(asked, rel=1e-6)
        seconds = [event.wall_time for event in events(folder / "fold-0")]
        assert all(map(math.isfinite, seconds))
    return True


LINE = ClassifierEpoch(
    seed=0,
    epoch=1,
    phase="mixed",
    learning_rate=0.1,
    train_loss=0.5,
    validation_loss=0.6,
    validation_accuracy=0.7,
    validation_cross_recall=None,
    validation_macro_f1=0.7,
    train_seconds=2.0,
    images_per_second=9.0,
    reused=True,
)


TRIALS = [
    Trial(number=0, state="failed", epochs=0, parameters={"rate": 0.1, "order": "mixed"}),
    Trial(number=1, state="complete", macro_f1=0.5, epochs=8, parameters={"rate": 0.01}),
    Trial(number=2, state="pruned", macro_f1=0.9, epochs=4, parameters={"rate": 0.02}),
    Trial(number=3, state="complete", macro_f1=0.25, epochs=8, parameters={"rate": 0.03}),
]


def test_what_is_written_again_is_the_same_and_not_doubled(tmp_path: Path) -> None:
    write_metrics(tmp_path, [LINE, replace(LINE, epoch=2), replace(LINE, seed=1)])
    write_tensorboard(tmp_path)
    assert same_as_metrics(tmp_path, seeds=2)
    first = tmp_path / "tensorboard" / "seed-0" / "fold-0"
    assert [event.wall_time for event in events(first)] == [2.0, 4.0]
    before = {p: p.read_bytes() for p in (tmp_path / "tensorboard").rglob("*") if p.is_file()}
    write_tensorboard(tmp_path)
    after = {p: p.read_bytes() for p in (tmp_path / "tensorboard").rglob("*") if p.is_file()}
    assert after == before
    write_metrics(tmp_path, [LINE])
    write_tensorboard(tmp_path)
    assert same_as_metrics(tmp_path, seeds=1)
    assert {path.name for path in tmp_path.iterdir()} == {"metrics.jsonl", "tensorboard"}


def test_trials_are_there_by_number_and_with_their_parameters(tmp_path: Path) -> None:
    write_metrics(tmp_path, [LINE])
    write_trials(tmp_path, TRIALS)
    write_tensorboard(tmp_path)
    found = scalars(tmp_path / "tensorboard" / "search")
    assert {s: v for (tag, s), v in found.items() if tag == "search/macro_f1"} == pytest.approx(
        {1: 0.5, 2: 0.9, 3: 0.25}
    )
    best = {s: v for (tag, s), v in found.items() if tag == "search/best_macro_f1"}
    assert best == {1: 0.5, 2: 0.5, 3: 0.5}
    for number, rate, order in [(0, 0.1, "mixed"), (3, 0.03, None)]:
        folder = tmp_path / "tensorboard" / "trials" / str(number)
        tags = {value.tag: value for event in events(folder) for value in event.summary.value}
        content = tags["_hparams_/session_start_info"].metadata.plugin_data.content
        given = HParamsPluginData.FromString(content).session_start_info.hparams
        assert given["rate"].number_value == rate
        assert ("order" in given) == (order is not None)
        if order is not None:
            assert given["order"].string_value == order
    assert tags["trial/macro_f1"].simple_value == 0.25
