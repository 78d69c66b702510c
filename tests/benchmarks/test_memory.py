"""A training process needs no more memory, and no more time per image, for a larger data set."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from thyroid.data.dataset import COLUMNS
from thyroid.files import sha256_of

SIZE = 128
CLASSES = ("normal", "graves", "hashimoto")
SCRIPT = """
import json, sys, threading
from pathlib import Path
from tests.toy import toy_recipe
from thyroid import pipeline
from thyroid.data.dataset import Dataset
from thyroid.execution.in_process import in_process
from thyroid.stages import compute
from thyroid.storage.store import Store

def anonymous_mb():
    status = Path("/proc/self/status").read_text()
    return int(status.split("RssAnon:")[1].split()[0]) / 1024

def watch():
    while not over.wait(0.05):
        seen.append(anonymous_mb())

folder, root, memory = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3])
compute.memory = lambda: memory
recipe = toy_recipe(
    network__name="lenet5", network__width=None, input__size=32, optimiser__batch_size=256,
    schedule__warmup_epochs=0, schedule__constant_epochs=1, schedule__decay_epochs=0,
)
dataset = Dataset.open(folder, verify=False)
final = pipeline.classifier(recipe, dataset.digest, 0)[-1]
seen, over = [anonymous_mb()], threading.Event()
callback = threading.Thread(target=watch, daemon=True)
callback.start()
epochs = [m for m in in_process(Store(root), {dataset.digest: folder})([final]) if "epoch" in m]
over.set()
callback.join()
print(json.dumps([max(seen) - seen[0], epochs[-1]["images_per_second"]]))
"""


def write_sparse(folder: Path, images: int) -> Path:
    """A data set whose matrices are all zero and take no room on the disk (a sparse file)."""
    folder.mkdir()
    label = np.array(CLASSES)[np.arange(images) % len(CLASSES)]
    with (folder / "images.csv").open("w") as file:
        file.write(",".join(COLUMNS) + "\n")
        for i, name in enumerate(label):
            file.write(f"image-{i:07d},patient-{i:07d},c,{name},{name},phantom,0,2.0,\n")
    np.lib.format.open_memmap(
        folder / "counts.npy", mode="w+", dtype="<u2", shape=(images, SIZE, SIZE)
    )
    info = {
        "name": "sparse",
        "classes": CLASSES,
        "size": SIZE,
        "pixel_mm": 2.0,
        "kind": "counts",
        "source": "test",
        "licence": "CC0-1.0",
        "sha256": sha256_of(folder / "counts.npy"),
        "format_version": 1,
    }
    (folder / "dataset.json").write_text(json.dumps(info))
    return folder


def trained(images: int, memory: int, where: Path) -> tuple[float, float]:
    """Maximum memory above that before training, in megabytes; images/s."""
    folder = write_sparse(where / f"{images}-{memory}", images)
    command = [sys.executable, "-c", SCRIPT, str(folder), f"{folder}-store", str(memory)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    megabytes, rate = json.loads(done.stdout.splitlines()[-1])
    return float(megabytes), float(rate)


@pytest.mark.parametrize("kind", ["mapped", "held"])
def test_memory_and_time_per_image(kind: str, tmp_path: Path, benchmark: BenchmarkFixture) -> None:
    """With mapped images, memory grows only by the table of images. With images in memory, it is
    what the images need. The time per image is the same.
    """
    memory = 10**8 if kind == "mapped" else 10**12
    few, many = 8_000, 80_000

    def measure() -> tuple[tuple[float, float], tuple[float, float]]:
        return trained(few, memory, tmp_path), trained(many, memory, tmp_path)

    (few_mb, few_rate), (many_mb, many_rate) = benchmark.pedantic(measure, rounds=1)
    figures = {"mb_8k": few_mb, "mb_80k": many_mb, "rate_8k": few_rate, "rate_80k": many_rate}
    benchmark.extra_info |= figures
    print(
        f"\n{kind}: {few:,} images {few_mb:.0f} MB, {few_rate:.0f} images/s; "
        f"{many:,} images {many_mb:.0f} MB, {many_rate:.0f} images/s"
    )
    held_mb = (many - few) * 0.75 * 32 * 32 * 4 / 2**20
    if kind == "mapped":
        assert many_mb - few_mb < held_mb / 2
    else:
        assert many_mb - few_mb > held_mb / 2
    assert many_rate > 0.8 * few_rate
