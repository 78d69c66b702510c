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
    epochs: int = 22,
    seed: int = 0,
) -> None:
    """Train a network on simulated scintigrams, to get starting weights for --weights.

    Args:
        out: folder of all results; to resume, run the same command again.
        network: name of the network.
        kind: photon counts, or pictures (display) as workstations export them; half of the pictures
            are windowed (--augmentation.windowing).
        images_per_class: simulated scintigrams of each disease alone.
        images_per_cross: simulated scintigrams of each pair of diseases.
        epochs: epochs of training; the learning rate rises in the first two and falls in the last
            four elevenths.
        seed: random seed of the simulated patients.
    """
    from thyroid.model.starting_point import file_name, write_starting_point
    from thyroid.networks.build import build
    from thyroid.recipe import NetworkConfig
    from thyroid.runs.run_place import require_place
    from thyroid.workflows.training import train

    require_place(out)
    build(NetworkConfig(name=network), 2)  # refuses an unknown network before simulating patients
    work = out / f"{kind}-{images_per_class}-{images_per_cross}-seed{seed}"
    data = work / "dataset"
    numbers = {"images_per_class": images_per_class, "images_per_cross": images_per_cross}
    if kind == "counts" and not data.exists():
        phantom(data, preset=PRESET, seed=seed, format="dataset", **numbers)
    elif not data.exists():
        if not (work / "png").exists():
            phantom(work / "png", preset=PRESET, seed=seed, format="png", **numbers)
        import_(work / "png", data, name=f"{PRESET} as pictures", licence="CC0-1.0")
    rising, falling = min(2, epochs - 1), epochs * 4 // 11
    changes = {
        "network.name": network,
        "mixing.synthetic_share": 0.0,
        "mixing.final_share": 0.0,
        "augmentation.windowing": 0.5 if kind == "display" else 0.0,
        "schedule.warmup_epochs": rising,
        "schedule.constant_epochs": epochs - rising - falling,
        "schedule.decay_epochs": falling,
        "split.test": 0.0,
    }
    run = train(data, work / f"{network}-{epochs}", "small", changes, folds=1, seeds=1)
    source = f"thyroid phantom, preset {PRESET}, seed {seed}"
    made = write_starting_point(run.folder, out / file_name(network, kind), source)
    size = made.stat().st_size / 1e6
    print(f"{made}: {size:.1f} MB; `thyroid train DATASET RUN --weights {made}` starts from it")
