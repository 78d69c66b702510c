"""Measures the SRGAN on scintigrams of the validation part, beside bicubic interpolation."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor
from torchmetrics.functional.image import structural_similarity_index_measure

from thyroid.acquisition import divide, stabilised
from thyroid.data.dataset import Dataset
from thyroid.data.splits import Split
from thyroid.evaluate.generator_quality import FEWEST_KERNEL, kernel_distance
from thyroid.network_input import sum_pixels
from thyroid.networks.resnet import ResNet
from thyroid.networks.srgan import bicubic
from thyroid.run_files.quality_json import SuperResolution, Way
from thyroid.stage_config import QualityConfig
from thyroid.stages.compute import Compute
from thyroid.stages.feature_network import features_and_classes
from thyroid.stages.images import detected, images
from thyroid.stages.train_srgan import CARD, load_upscaler, psnr_db, upscale


def super_resolution(
    inputs: Mapping[str, Path],
    dataset: Dataset,
    parts: Split,
    feature_network: ResNet,
    config: QualityConfig,
    on: Compute,
) -> SuperResolution | None:
    """Compare enlarged validation images with their targets; None without an SRGAN.

    The photons of each image are dealt to two images: one is made coarse and enlarged again; the
    other, which is independent of it, is the target (pictures without photons are their own).
    PSNR and SSIM compare stabilised expected counts with the target, whose noise bounds both. The
    kernel distance compares counts drawn from the enlarged image with the target's.
    """
    if "srgan" not in inputs:
        return None
    card = json.loads((inputs["srgan"] / CARD).read_text())
    source = images(dataset, parts.validation, config.input, on)[:]
    target, n, kind = source, len(source), dataset.info.kind
    if kind == "counts":
        half = torch.full((n,), 0.5, device=on.device)
        halves = on.generator(config.seed, "quality", "halves")
        source, target = divide(source, half, halves)  # (N, S, S) each
    low = sum_pixels(source, config.input.size // card["scale"])  # (N, s, s)
    wanted, _ = features_and_classes(feature_network, target, config.input.normalisation)

    ways: dict[Way, Tensor] = {
        "bicubic": bicubic(low, card["scale"]),
        "pixel": upscale(load_upscaler(inputs["srgan_pixel"], on), low, on),
        "adversarial": upscale(load_upscaler(inputs["srgan"], on), low, on),
    }  # (N, S, S) each, mean 1
    distances: dict[Way, float | None] = {}
    for way, activity in ways.items():
        photons = on.generator(config.seed, "quality", "photons")
        made = detected(activity, target.sum((1, 2)), kind, photons)
        features, _ = features_and_classes(feature_network, made, config.input.normalisation)
        enough = n >= FEWEST_KERNEL
        distances[way] = kernel_distance(features, wanted, paired=True) if enough else None
    return SuperResolution(
        psnr_db={way: psnr_db(activity, target) for way, activity in ways.items()},
        ssim={way: _ssim(activity, target) for way, activity in ways.items()},
        kernel_distance=distances,
        images=n,
    )


def _ssim(activity: Tensor, target: Tensor) -> float:
    """Structural similarity (Wang 2004), mean over images, of the pictures that `psnr_db` compares.

    Activity (N, S, S) float32 of mean 1, target counts (N, S, S) float32.
    """
    goal = stabilised(target)  # (N, 1, S, S)
    shown = stabilised(activity * target.mean((1, 2), keepdim=True))
    peak = goal.amax((1, 2, 3), keepdim=True)
    similarity = structural_similarity_index_measure(shown / peak, goal / peak, data_range=1.0)
    assert isinstance(similarity, Tensor)  # a pair only where the contrast is asked for, too
    return similarity.item()
