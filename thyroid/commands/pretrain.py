"""`thyroid pretrain`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from tyro.conf import Positional, arg

from thyroid.commands.import_ import import_
from thyroid.commands.phantom import phantom

PRESET = "clinic7"


def pretrain(
    out: Annotated[Positional[Path], arg(metavar="OUT")],
    *,
    network: str = "resnet_small",
    kind: Literal["counts", "display"] = "counts",
    images_per_class: int = 1000,
    images_per_cross: int = 150,
    epochs: int = 20,
    seed: int = 0,
) -> None:
    """Train a network on simulated scintigrams: weights for --weights, from which training starts.

    Args:
        out: folder of everything that is made; the same again resumes.
        network: name of the network.
        kind: photon counts, or pictures (display) as workstations export them.
        images_per_class: simulated scintigrams of each disease alone.
        images_per_cross: simulated scintigrams of each pair of diseases.
        epochs: of training; the last two fifths at a falling learning rate.
        seed: of the simulated patients.
    """
    from thyroid.model.starting_point import file_name, write_starting_point
    from thyroid.workflows.training import train

    data = out / "dataset"
    numbers = {"images_per_class": images_per_class, "images_per_cross": images_per_cross}
    if kind == "counts" and not data.exists():
        phantom(data, preset=PRESET, seed=seed, format="dataset", **numbers)
    elif not data.exists():
        if not (out / "png").exists():
            phantom(out / "png", preset=PRESET, seed=seed, format="png", **numbers)
        import_(out / "png", data, name=f"{PRESET} as pictures", licence="CC0-1.0")
    changes = {
        "network.name": network,
        "mixing.synthetic_share": 0.0,
        "mixing.final_share": 0.0,
        "schedule.constant_epochs": epochs - round(0.4 * epochs),
        "schedule.decay_epochs": round(0.4 * epochs),
        "split.test": 0.0,
    }
    run = train(data, out / "run", "small", changes, folds=1, seeds=1)
    source = f"thyroid phantom, preset {PRESET}, seed {seed}"
    made = write_starting_point(run.folder, out / file_name(network, kind), source)
    size = made.stat().st_size / 1e6
    print(f"{made}: {size:.1f} MB; `thyroid train DATASET RUN --weights {made}` starts from it")
