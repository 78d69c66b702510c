"""The worth of windowing as augmentation: `python -m tests.benchmarks.windowing OUT`.

Trains on pictures of `clinic7` (20 per class, five folds), without windowing and with half of the
pictures windowed, from random weights and from those that ship with thyroid. Tests on pictures of
`thyroid7-development`: as they were exported, and as other workstations would display them, with
other black and white levels and another gamma. Prints the ensemble's macro-F1 and the difference
that windowing makes, over patients and training sets.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

import thyroid
from thyroid.data.dataset import Dataset
from thyroid.evaluate.metrics import macro_f1
from thyroid.evaluate.paired import detectable, macro_f1_difference
from thyroid.model.model_folder import read_model
from thyroid.phantom.write_files import write_phantom

FOLDS = 5
BLACK, WHITE, GAMMA = 0.05, 0.5, 1.8
"""Greatest black level and least white level, as shares of the maximum; greatest gamma, or inverse
gamma."""

Pictures = npt.NDArray[np.uint16]


def main(out: Path) -> None:
    """Train with and without windowing, and test both."""
    out.mkdir(parents=True, exist_ok=True)
    data = pictures(out / "data", "clinic7", 20, seed=81)
    test = pictures(out / "test", "thyroid7-development", 100, seed=82)
    shown = {
        "as exported": test.counts,
        "otherwise displayed": displayed(test.counts, np.random.default_rng(0)),
    }
    for weights in (None, "phantom"):
        named = {}
        for windowing in (0.0, 0.5):
            changes = {
                "augmentation.windowing": windowing,
                "mixing.synthetic_share": 0.0,
                "mixing.final_share": 0.0,
                "split.test": 0.0,
                "execution.threads": 1,
            }
            run = thyroid.train(
                data.folder,
                out / f"run-{weights}-{windowing}",
                "small",
                changes,
                folds=FOLDS,
                weights=weights,
                store=out / "store",
            )
            folder = out / f"model-{weights}-{windowing}"
            if not folder.exists():
                thyroid.export(run, folder)
            named[windowing] = {how: classes_of(folder, images) for how, images in shown.items()}
        for how in shown:
            (of_each, ensemble), (without_each, without) = named[0.5][how], named[0.0][how]
            difference = macro_f1_difference(
                *(test.labels, of_each[:, None], without_each[:, None], test.images["patient_id"]),
                classes=len(test.info.classes),
                ensembles=(ensemble, without),
            )
            reached = [macro_f1(test.labels, each, 7) for each in (without, ensemble)]
            print(
                f"{weights or 'random'} weights, {how}: without {reached[0]:.3f}, with "
                f"{reached[1]:.3f}, difference {difference.value:+.3f} "
                f"[{difference.low:+.3f}, {difference.high:+.3f}], smallest that would be shown "
                f"{detectable(difference):.3f}",
                flush=True,
            )


def pictures(folder: Path, preset: str, per_class: int, seed: int) -> Dataset:
    """Simulated scintigrams as a workstation exports them."""
    files = folder.with_name(f"{folder.name}-files")
    if not folder.exists():
        few = {"images_per_class": per_class, "images_per_cross": 0}
        write_phantom(files, preset=preset, seed=seed, format="png", **few)
        thyroid.import_files(files, folder)
    return Dataset.open(folder)


def displayed(images: Pictures, rng: np.random.Generator) -> Pictures:
    """Change black level, white level and gamma of pictures (N, H, H), each at random."""
    each = (len(images), 1, 1)
    peak = images.max(axis=(1, 2), keepdims=True).astype(np.float64)
    black, white = rng.uniform(0, BLACK, each), rng.uniform(WHITE, 1, each)
    gamma = np.exp(rng.uniform(-np.log(GAMMA), np.log(GAMMA), each))
    grey = np.clip((images / peak - black) / (white - black), 0, 1) ** gamma
    changed: Pictures = (np.rint(255 * grey) * 257).astype(np.uint16)
    return changed


def classes_of(
    folder: Path, images: Pictures
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Classes (M, N) that the networks of a model predict from one view, and those (N,) of their
    ensemble.
    """
    network = read_model(folder).network.of_one_view()
    with torch.inference_mode():
        some = torch.split(torch.from_numpy(images.astype(np.float32)), network.batch)
        p = torch.cat([network.of_members(counts) for counts in some], dim=1)  # (M, N, C)
    return p.argmax(2).numpy(), network.calibrated(p).argmax(1).numpy()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
