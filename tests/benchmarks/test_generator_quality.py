"""The quality of synthetic scintigrams on the simulated benchmark: minutes on one core for each."""

from __future__ import annotations

import dataclasses
import json
import os
import time
from pathlib import Path

import pytest
import torch
from pytest_benchmark.fixture import BenchmarkFixture

from thyroid import machine, pipeline
from thyroid.commands.phantom import phantom
from thyroid.data.dataset import Dataset
from thyroid.execution.in_process import in_process, opened
from thyroid.recipe import RECIPES, override
from thyroid.run_files.quality_json import FILE
from thyroid.stages import train_dcgan, train_generator
from thyroid.stages.compute import start
from thyroid.storage.store import Store


def test_the_quality_of_small(tmp_path: Path, benchmark: BenchmarkFixture) -> None:
    phantom(tmp_path / "data", images_per_class=75, images_per_cross=25, seed=0)
    dataset = Dataset.open(tmp_path / "data")
    recipe = override(RECIPES["small"](), {"split.test": 0.0})
    recipe = dataclasses.replace(recipe, execution=machine.resolve(recipe.execution))
    store = Store(tmp_path / "store")
    stage = pipeline.quality(recipe, dataset.digest, 0)

    def run() -> None:
        for _ in in_process(store, {dataset.digest: dataset.folder})([stage]):
            pass

    benchmark.pedantic(run, rounds=1)
    table = json.loads((opened(stage, store) / FILE).read_text())
    overall = {row["measure"]: row for row in table["rows"] if row["group"] == "all"}
    print("\nmeasure, synthetic, real")
    for name, row in overall.items():
        print(name, row["synthetic"], row["real"])
    enlarged = table["super_resolution"]
    print(json.dumps(enlarged))
    assert abs(overall["neighbour_dispersion"]["synthetic"] - 1) < 0.05
    assert enlarged["psnr_db"]["pixel"] > enlarged["psnr_db"]["bicubic"]
    assert enlarged["kernel_distance"]["adversarial"] < enlarged["kernel_distance"]["bicubic"]


GENERATORS: dict[str, dict[str, object]] = {
    "DCGAN 32 px, SRGAN": {},
    "DCGAN 64 px, as many steps": {"srgan.scale": 1},
    "DCGAN 64 px, a quarter of them": {"srgan.scale": 1, "dcgan.epochs": 9},
    "flow 64 px": {"srgan.scale": 1, "generator": "flow"},
    "eigen 64 px": {"srgan.scale": 1, "generator": "eigen"},
}
SHOWN = (
    *("frechet_distance", "kernel_distance", "precision", "recall", "coverage"),
    *("nearest_training_distance", "share_suspiciously_near", "classification_macro_f1"),
)


@pytest.mark.parametrize("name", GENERATORS)
def test_a_generator_keeps_the_findings(
    name: str, tmp_path: Path, benchmark: BenchmarkFixture
) -> None:
    """Label fidelity of each finding before any filter, and what else the quality stage measures.

    `thyroid7`, 60 training images of each class and 20 of each cross; the filter networks are those
    of `paper`. GENERATOR_STORE names a store that keeps what several generators share.
    """
    phantom(tmp_path / "data", images_per_class=75, images_per_cross=25, seed=0)
    dataset = Dataset.open(tmp_path / "data")
    usual = {"split.test": 0.0, "split.folds": 1, "synthesis.rejection": 1.0}
    recipe = override(RECIPES["paper"](), usual | GENERATORS[name])
    recipe = dataclasses.replace(recipe, execution=machine.resolve(recipe.execution))
    store = Store(Path(os.environ.get("GENERATOR_STORE", tmp_path / "store")))
    stage = pipeline.quality(recipe, dataset.digest, 0)
    seconds = {"dcgan": 0.0, "srgan": 0.0, "generator": 0.0}

    def run() -> None:
        for line in in_process(store, {dataset.digest: dataset.folder})([stage]):
            if line["stage"] in seconds:
                seconds[line["stage"]] += line.get("train_seconds", 0.0)

    benchmark.pedantic(run, rounds=1)
    rows = json.loads((opened(stage, store) / FILE).read_text())["rows"]
    print(f"\n{name}: training {sum(seconds.values()):.0f} s")
    for row in rows:
        if row["measure"] == "label_fidelity" or (
            row["group"] == "all" and row["measure"] in SHOWN
        ):
            print(row["measure"], row["group"], row["synthetic"], row["real"])

    pool = pipeline.synthesis(recipe, dataset.digest, 0)
    drawing = pool.inputs.get("dcgan") or pool.inputs["generator"]
    trained, on = opened(drawing, store), start(recipe.execution)
    draw = (
        train_dcgan.sampler(trained, on)
        if drawing.kind == "dcgan"
        else train_generator.sampler(trained, pool.config.drawing, on)
    )
    asked = torch.eye(len(dataset.info.classes)).repeat(40, 1)
    began = time.perf_counter()
    draw(asked, on.generator(0))
    print(f"drawing {len(asked) / (time.perf_counter() - began):.0f} images/s")
