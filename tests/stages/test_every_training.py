"""Tests that every training passes: segments, seeds, and the images that it may learn from."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from tests.stages.test_classifier import mixed
from tests.stages.test_cross_training import LATE, LENGTH
from tests.stages.test_dcgan import PUBLISHED
from tests.stages.test_generator import NAMES
from tests.toy import made, toy_generators, toy_recipe, with_other_pixels, without_times
from thyroid import pipeline
from thyroid.data.dataset import Dataset
from thyroid.data.splits import make_split
from thyroid.files import sha256_of
from thyroid.networks.build import BASELINES
from thyroid.networks.registry import NETWORKS
from thyroid.recipe import Recipe
from thyroid.stage import Stage

STAGES: dict[str, Callable[[Recipe, str, int], list[Stage]]] = {
    "classifier": pipeline.classifier,
    "dcgan": pipeline.dcgan,
    "srgan": pipeline.srgan,
    "generator": pipeline.generator,
    "synthesis": lambda *about: [pipeline.synthesis(*about)],
}
SECTION = {"classifier": "schedule", "dcgan": "dcgan", "srgan": "srgan", "generator": "flow"}
"""Section of the recipe that has the length of a stage's segments."""

Recipes = Callable[..., Recipe]


def network(name: str) -> Recipes:
    """Recipes of a network; the first cut is within a part of the schedule."""
    return partial(
        toy_recipe,
        network__name=name,
        network__width=4 if NETWORKS[name].has_width else None,
        augmentation__thinning=0.5,
        schedule__warmup_epochs=2,
        schedule__decay_epochs=2,
        optimiser__batch_size=40,
    )


SEGMENTED: dict[str, tuple[str, Recipes]] = {
    **{
        name: ("classifier", network(name))
        for name in (*BASELINES, "resnet18", "resnet34", "resnet50")
    },
    "bf16": ("classifier", partial(network("resnet_small"), execution__precision="bf16")),
    "synthetic images": (
        "classifier",
        partial(mixed, augmentation__thinning=0.5, schedule__warmup_epochs=2),
    ),
    "cross phase": ("classifier", partial(toy_recipe, **LENGTH | LATE)),
    "cross phase, last stages": (
        "classifier",
        partial(toy_recipe, **LENGTH | LATE, cross__trainable="last_stages"),
    ),
    "flow": ("generator", partial(toy_generators, generator="flow", flow__epochs=3)),
} | {
    f"{name}, {precision}": (
        stage,
        partial(toy_generators, **changes, execution__precision=precision),
    )
    for precision in ("fp32", "bf16")
    for name, stage, changes in (
        ("DCGAN", "dcgan", {"dcgan__epochs": 3}),
        ("published DCGAN", "dcgan", {"dcgan__epochs": 3, **PUBLISHED}),
        ("SRGAN", "srgan", {"srgan__pixel_epochs": 2, "srgan__adversarial_epochs": 3}),
    )
}
"""Kind of the stage, and its recipes."""

LEARNING: dict[str, tuple[str, Recipes]] = {
    "classifier": ("classifier", partial(mixed, synthesis__rejection=0.3)),  # the filter has a say
    "cross phase": (
        "classifier",
        partial(
            toy_generators,
            **LENGTH,
            cross__superposed=0.5,
            cross__synthetic=0.25,
            network__cross_feature="input",
        ),
    ),
    "DCGAN": ("dcgan", toy_generators),
    "SRGAN": ("srgan", toy_generators),
    **{name: ("generator", partial(toy_generators, generator=name)) for name in NAMES},
    "synthesis": ("synthesis", toy_generators),
}


def content(folder: Path) -> dict[str, str]:
    """SHA-256 of an artifact's tensors, tables and last sheet of pictures."""
    files = [path for kind in ("safetensors", "npy", "csv") for path in folder.rglob(f"*.{kind}")]
    files += sorted(folder.glob("sheets/*"))[-1:]
    assert files
    return {path.relative_to(folder).as_posix(): sha256_of(path) for path in files}


@pytest.mark.parametrize("name", SEGMENTED)
def test_a_run_in_segments_is_the_whole_run_bit_for_bit(
    name: str, crossed: Path, tmp_path: Path
) -> None:
    stage, recipes = SEGMENTED[name]
    found = []
    for epochs in (1, 9):
        recipe = recipes(**{f"{SECTION[stage]}__segment_epochs": epochs})
        stages = STAGES[stage](recipe, Dataset.open(crossed).digest, 0)
        folder, metrics = made(stages[-1], crossed, tmp_path / str(epochs))
        found.append((len(stages), without_times(metrics), content(folder)))
    (segments, parts, in_parts), (fewer, once, at_once) = found
    assert segments > fewer
    assert parts == once
    assert in_parts == at_once
    own = once[-segments:]  # before them come those of the label filter
    assert [m["epoch"] for m in own] == list(range(1, segments + 1))


@pytest.mark.parametrize("name", LEARNING)
def test_it_learns_from_no_validation_or_test_image(
    name: str, crossed: Path, tmp_path: Path
) -> None:
    """With other images there, all that the stage needs and makes has the same bits."""
    stage, recipes = LEARNING[name]
    dataset = Dataset.open(crossed)
    parts = make_split(dataset, recipes().split)
    held_out = np.concatenate([parts.validation, parts.test])
    assert dataset.is_cross[held_out].any()
    assert min(len(parts.validation), len(parts.test)) > 10
    changed = {"nothing": held_out[:0], "held out": held_out, "training": parts.train[:8]}
    if stage == "srgan":  # others report nothing that test images could enter
        changed["test"] = parts.test
    found, validated = {}, {}
    for what, rows in changed.items():
        data = with_other_pixels(dataset, rows, tmp_path / what)
        final = STAGES[stage](recipes(), data.digest, 0)[-1]
        folder, metrics = made(final, data.folder, tmp_path / "store")
        lines = without_times(metrics)
        seen = [{k for k in m if k.startswith(("validation", "bicubic"))} for m in lines]
        validated[what] = [[m[k] for k in sorted(of)] for m, of in zip(lines, seen, strict=True)]
        learned = [{k: m[k] for k in m.keys() - of} for m, of in zip(lines, seen, strict=True)]
        found[what] = content(folder), learned
    assert found["held out"] == found["nothing"]
    assert found["training"][0] != found["nothing"][0]  # the comparison can tell
    if stage in ("classifier", "srgan"):
        assert validated["held out"][-1] != validated["nothing"][-1]
    if stage == "srgan":
        assert (found["test"], validated["test"]) == (found["nothing"], validated["nothing"])


@pytest.mark.parametrize("name", ["classifier", "DCGAN", "SRGAN", "flow"])
def test_seeds_differ(name: str, crossed: Path, tmp_path: Path) -> None:
    """The classifier learns from real images alone, since synthetic ones have a seed, too."""
    stage, recipes = LEARNING[name] if name != "classifier" else (name, toy_recipe)
    first, second = (
        made(STAGES[stage](recipes(), Dataset.open(crossed).digest, seed)[-1], crossed, tmp_path)
        for seed in (0, 1)
    )
    one, other = (
        {path.name: sha256_of(path) for path in folder.glob("*.safetensors")}
        for folder, _ in (first, second)
    )
    assert one.keys() == other.keys()
    assert one
    assert all(one[file] != other[file] for file in one)
