"""The quality table of the recipe `small` on the simulated benchmark: minutes on one core."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

from pytest_benchmark.fixture import BenchmarkFixture

from thyroid import machine, pipeline
from thyroid.commands.phantom import phantom
from thyroid.data.dataset import Dataset
from thyroid.execution.in_process import in_process
from thyroid.recipe import RECIPES, override
from thyroid.run_files.quality_json import FILE
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
    folder = store.open(stage.key)
    assert folder is not None
    table = json.loads((folder / FILE).read_text())
    overall = {row["measure"]: row for row in table["rows"] if row["group"] == "all"}
    print("\nmeasure, synthetic, real")
    for name, row in overall.items():
        print(name, row["synthetic"], row["real"])
    enlarged = table["super_resolution"]
    print(json.dumps(enlarged))
    assert abs(overall["neighbour_dispersion"]["synthetic"] - 1) < 0.05
    assert enlarged["psnr_db"]["pixel"] > enlarged["psnr_db"]["bicubic"]
    assert enlarged["kernel_distance"]["adversarial"] < enlarged["kernel_distance"]["bicubic"]
