"""The generators of synthetic scintigrams: training, filter, quality, cost, as plain numbers."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median
from typing import Any

from reports.run import Run
from reports.scintigrams import contact_sheet, side_by_side
from reports.sections.data import training_sheet
from reports.sections.synthetic_gain import uses_synthetic
from reports.synthetic import WAYS

DCGAN = ("discriminator_loss", "generator_loss", "real_score", "fake_score", "diversity")
SRGAN = ("validation_psnr_db", "bicubic_psnr_db", "pixel_loss")
EVERYTHING = "all"
"""The group of all images in quality.json."""


def generators_info(run: Run) -> dict[str, Any] | None:
    """All about the synthetic images but their worth; None where the recipe uses none."""
    if not uses_synthetic(run.config):
        return None
    recipe = run.config["recipe"]
    quality = run.quality
    return {
        "synthetic_share": recipe["mixing"].get("synthetic_share") or 0.0,
        "final_share": recipe["mixing"].get("final_share") or 0.0,
        "cross_synthetic": _of_cross_phase(recipe.get("cross", {})),
        "crosses_alone": recipe["mixing"].get("cross_share") == 1,
        "name": recipe.get("generator", "dcgan"),
        "scale": recipe.get("srgan", {}).get("scale", 1),
        "rejection": recipe.get("synthesis", {}).get("rejection", 1.0),
        "examples": None if run.examples is None else len(run.examples),
        "dcgan": _curves(run.generators["dcgan"], DCGAN),
        "srgan": _srgan(run.generators["srgan"]),
        "filter": _filter(run.generators["synthesis"], run.classes),
        "quality": None if quality is None else _quality(quality, run.classes),
        "super_resolution": None if quality is None else _enlarged(quality["super_resolution"]),
        "costs": _costs(run),
    }


def real_and_synthetic(run: Run) -> list[dict[str, Any]]:
    """Training images and synthetic ones of the same findings, with pixels of the same size."""
    if run.examples is None or not uses_synthetic(run.config):
        return []
    made = contact_sheet(run.examples, per_group=3)
    return side_by_side(training_sheet(run, run.examples.info.size), made)


def _of_cross_phase(cross: dict[str, Any]) -> float | None:
    """Share of synthetic images among the crosses of the cross phase; None where there is none."""
    return (cross.get("synthetic") or 0.0) if cross.get("order") == "retrain" else None


def _curves(rows: Sequence[dict[str, Any]], names: Sequence[str]) -> dict[str, Any] | None:
    """Per seed, a value per epoch."""
    if not rows:
        return None
    by_seed = {
        seed: [row for row in rows if row["seed"] == seed]
        for seed in dict.fromkeys(row["seed"] for row in rows)
    }
    return {
        "seeds": [
            {"seed": seed, "epoch": [row["epoch"] for row in own]}
            | {name: [row.get(name) for row in own] for name in names}
            | {"last": {name: own[-1].get(name) for name in ("epoch", *names)}}
            for seed, own in by_seed.items()
        ]
    }


def _srgan(rows: Sequence[dict[str, Any]]) -> dict[str, Any] | None:
    """Its curves, and the first epoch of the adversarial part, None before it."""
    curves = _curves(rows, SRGAN)
    begins = min((r["epoch"] for r in rows if r.get("part") == "adversarial"), default=None)
    return None if curves is None else curves | {"adversarial_from": begins}


def _filter(rows: Sequence[dict[str, Any]], classes: Sequence[str]) -> dict[str, Any] | None:
    """How many images the judge dropped, over all seeds, by combination of findings."""
    if not rows:
        return None
    named = sorted({row["findings"] for row in rows}, key=lambda text: _order(text, classes))
    sums = []
    for name in (None, *named):
        own = [row for row in rows if name in (None, row["findings"])]
        made, dropped = (sum(int(row[count]) for row in own) for count in ("made", "dropped"))
        share = dropped / made if made else None
        sums.append({"name": name, "made": made, "dropped": dropped, "share": share})
    return {"seeds": len({row["seed"] for row in rows}), "all": sums[0], "rows": sums[1:]}


def _quality(quality: dict[str, Any], classes: Sequence[str]) -> dict[str, Any]:
    """Measures of all images, and a table of each combination's where it has any.

    `by_group` has a row per combination of findings, with a cell (synthetic, real) or None per
    measure of `measures`.
    """
    rows = quality["rows"]
    names = {row["group"] for row in rows} - {EVERYTHING}
    groups = sorted(names, key=lambda text: _order(text, classes))
    cells = {
        (row["group"], row["measure"]): {"synthetic": row["synthetic"], "real": row["real"]}
        for row in rows
        if row["group"] != EVERYTHING and row["synthetic"] is not None
    }
    measures = [m for m in dict.fromkeys(r["measure"] for r in rows) if m in {c[1] for c in cells}]
    return {
        "about": quality["about"],
        "images": quality["images"],
        "overall": [row for row in rows if row["group"] == EVERYTHING],
        "measures": measures,
        "by_group": [
            {"name": group, "cells": [cells.get((group, measure)) for measure in measures]}
            for group in groups
        ],
    }


def _enlarged(found: dict[str, Any] | None) -> dict[str, Any] | None:
    """Super-resolution as a row per way to enlarge, and where the SRGAN beats bicubic.

    `psnr_gain_db` is of the pixel part, whose loss aims at it; `nearer` says whether the
    adversarial part's images are nearer to real ones in kernel distance.
    """
    if found is None:
        return None
    psnr, distance = found["psnr_db"], found["kernel_distance"]
    known = None not in (distance["bicubic"], distance["adversarial"])
    measured = ("psnr_db", "ssim", "kernel_distance")
    return {
        "images": found["images"],
        "rows": [{"way": way} | {name: found[name][way] for name in measured} for way in WAYS],
        "psnr_gain_db": _less(psnr["pixel"], psnr["bicubic"]),
        "nearer": distance["adversarial"] < distance["bicubic"] if known else None,
    }


def _less(above: float | None, below: float | None) -> float | None:
    return None if above is None or below is None else above - below


def _costs(run: Run) -> list[dict[str, Any]]:
    """Training of each network: epochs and seconds, mean over seeds; images/s, their median."""
    parts = {
        "dcgan": run.generators["dcgan"],
        "srgan_pixel": [r for r in run.generators["srgan"] if r.get("part") != "adversarial"],
        "srgan_adversarial": [r for r in run.generators["srgan"] if r.get("part") == "adversarial"],
        "classifier": run.epochs,
    }
    costs = []
    for name, rows in parts.items():
        if rows:
            seeds = len({row["seed"] for row in rows})
            speeds = [row["images_per_second"] for row in rows if row.get("images_per_second")]
            costs.append(
                {
                    "name": name,
                    "seeds": seeds,
                    "epochs": len(rows) / seeds,
                    "seconds": sum(row.get("train_seconds") or 0.0 for row in rows) / seeds,
                    "images_per_second": median(speeds) if speeds else None,
                }
            )
    return costs


def _order(findings: str, classes: Sequence[str]) -> tuple[bool, int, str]:
    """Classes in the data set's order, then crosses by name."""
    return ";" in findings, classes.index(findings) if findings in classes else 0, findings
