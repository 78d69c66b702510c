"""How hard `thyroid7` is: macro-F1 of a plain ResNet-18 on other centres, against training size.

The network is trained on `thyroid7` and tested on `thyroid7-external` or `--test
thyroid7-development`, which have the same diseases at other centres. The label is the primary
finding. Trainings use one thread, bf16 if the processor has it, and no validation set: the weights
after the last epoch are tested.

    python -m tests.benchmarks.calibrate_thyroid7 --images-per-class 60 --images-per-cross 20
    python -m tests.benchmarks.calibrate_thyroid7 --images-per-class 2000 --images-per-cross 500 \
        --epochs 10 --seeds 0
"""

from __future__ import annotations

import argparse
import math
import time

import numpy as np
import torch
import torch.nn.functional as F
import torchvision
from sklearn.metrics import confusion_matrix, f1_score
from torch import Tensor, nn

from thyroid.data.scintigram import bring_to_grid
from thyroid.phantom.presets import PRESETS
from thyroid.phantom.simulator import addresses, simulate
from thyroid.phantom.write_files import as_imported

DATA_SEED, TEST_SEED = 0, 1


def phantom(name: str, per_class: int, per_cross: int, seed: int) -> tuple[Tensor, Tensor, Tensor]:
    """Inputs (N, 1, 64, 64) float32, labels (N,), and whether each shows two diseases (N,)."""
    preset = PRESETS[name]
    images = addresses(preset, images_per_class=per_class, images_per_cross=per_cross)
    inputs = torch.empty(len(images), 1, 64, 64)
    for i, scintigram in enumerate(simulate(preset, images, seed=seed)):
        matrix = bring_to_grid(as_imported(scintigram), size=128, pixel_mm=2.0).matrix
        counts = torch.from_numpy(matrix.astype(np.float32)).view(64, 2, 64, 2).sum((1, 3))
        inputs[i, 0] = (counts / counts.mean()).sqrt()
    labels = torch.tensor([preset.classes.index(a.findings[0]) for a in images])
    return inputs, labels, torch.tensor([len(a.findings) > 1 for a in images])


def augmented(x: Tensor, generator: torch.Generator) -> Tensor:
    """Rotation up to 10 degrees, shift up to 6 %, zoom up to 12 %; no mirroring."""

    def uniform(limit: float) -> Tensor:
        return (2 * torch.rand(len(x), generator=generator) - 1) * limit

    angle, zoom = uniform(math.radians(10)), torch.exp(uniform(math.log(1.12)))
    cos, sin = zoom * torch.cos(angle), zoom * torch.sin(angle)
    rows = [cos, -sin, 2 * uniform(0.06), sin, cos, 2 * uniform(0.06)]
    grid = F.affine_grid(torch.stack(rows, 1).view(-1, 2, 3), list(x.shape), align_corners=False)
    return F.grid_sample(x, grid, align_corners=False)


def train(
    inputs: Tensor, labels: Tensor, *, epochs: int, seed: int, width: int, batch: int = 64
) -> nn.Module:
    """AdamW, learning rate 1e-3 with a short warm-up and a cosine decay, weight decay 0.05."""
    torch.manual_seed(seed)
    generator = torch.Generator().manual_seed(seed)
    network = torchvision.models.resnet18(num_classes=7)
    network.conv1 = nn.Conv2d(1, 64, 7, stride=2, padding=3, bias=False)
    if width != 64:
        network = narrow(width)
    network = network.to(memory_format=torch.channels_last).train()
    optimiser = torch.optim.AdamW(network.parameters(), lr=1e-3, weight_decay=0.05)
    steps = epochs * (len(inputs) // batch)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimiser, max_lr=1e-3, total_steps=steps, pct_start=0.1
    )
    for _ in range(epochs):
        order = torch.randperm(len(inputs), generator=generator)
        for chosen in order[: len(order) // batch * batch].split(batch):
            x = augmented(inputs[chosen], generator).to(memory_format=torch.channels_last)
            with torch.autocast("cpu", torch.bfloat16):
                scores = network(x)
            loss = F.cross_entropy(scores.float(), labels[chosen])
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            schedule.step()
    return network.eval()


def narrow(width: int) -> nn.Module:
    """ResNet-18 with fewer channels, for exploring."""
    blocks: list[nn.Module] = [
        nn.Conv2d(1, width, 7, stride=2, padding=3, bias=False),
        nn.BatchNorm2d(width),
        nn.ReLU(),
        nn.MaxPool2d(3, 2, 1),
    ]
    channels = width
    for stage in range(4):
        for place in range(2):
            out, stride = width * 2**stage, 2 if stage and not place else 1
            shortcut = None
            if stride > 1:
                shortcut = nn.Sequential(
                    nn.Conv2d(channels, out, 1, stride, bias=False), nn.BatchNorm2d(out)
                )
            blocks.append(
                torchvision.models.resnet.BasicBlock(channels, out, stride, downsample=shortcut)
            )
            channels = out
    return nn.Sequential(*blocks, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, 7))


@torch.no_grad()
def predicted(network: nn.Module, inputs: Tensor) -> Tensor:
    """Class indices (N,)."""
    with torch.autocast("cpu", torch.bfloat16):
        batches = [network(x.to(memory_format=torch.channels_last)) for x in inputs.split(250)]
    return torch.cat(batches).argmax(1)


def main() -> None:
    """Print macro-F1 by seed, its mean and spread, and the confusions."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images-per-class", type=int, default=60)
    parser.add_argument("--images-per-cross", type=int, default=20)
    parser.add_argument("--epochs", type=int, default=40)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--test", default="thyroid7-external", help="preset of the test images")
    parser.add_argument("--width", type=int, default=64, help="64: the plain ResNet-18")
    options = parser.parse_args()
    torch.set_num_threads(1)
    began = time.perf_counter()
    inputs, labels, _ = phantom(
        "thyroid7", options.images_per_class, options.images_per_cross, DATA_SEED
    )
    test_inputs, test_labels, is_cross = phantom(options.test, 60, 30, TEST_SEED)
    print(f"simulated in {time.perf_counter() - began:.0f} s", flush=True)
    scores = []
    for seed in options.seeds:
        began = time.perf_counter()
        network = train(inputs, labels, epochs=options.epochs, seed=seed, width=options.width)
        found = predicted(network, test_inputs)
        scores.append(f1_score(test_labels, found, average="macro"))
        single = f1_score(test_labels[~is_cross], found[~is_cross], average="macro")
        cross = float((found == test_labels)[is_cross].float().mean())
        print(
            f"seed {seed}: macro-F1 {scores[-1]:.4f} (single {single:.4f}, cross accuracy "
            f"{cross:.4f}) in {time.perf_counter() - began:.0f} s; true class in rows:\n"
            f"{confusion_matrix(test_labels, found, labels=range(7))}",
            flush=True,
        )
    print(f"macro-F1 {np.mean(scores):.4f} +- {np.std(scores):.4f}")


if __name__ == "__main__":
    main()
