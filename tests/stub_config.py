"""The config.json of a run without trainings."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

from thyroid.configuration import from_json, to_json
from thyroid.run_files.config_json import (
    ComparisonSettings,
    RecordedDataset,
    RunConfig,
    SearchSettings,
    read_config,
    write_config,
)


def stub_dataset(**changes: Any) -> RecordedDataset:
    known: dict[str, Any] = {
        "folder": "/nowhere/data", "name": "data", "classes": ("a", "b"), "size": 32,
        "pixel_mm": 4.0, "kind": "counts", "source": "", "licence": "", "sha256": "0" * 64,
        "digest": "0" * 64, "images": 36, "patients": 18,
    }  # fmt: skip
    return RecordedDataset(**known | changes)


def stub_search(**changes: Any) -> SearchSettings:
    known: dict[str, Any] = {
        "space": "augmentation", "trials": 16, "seeds": 1, "seed": 0, "grace_epochs": 8,
        "reduction_factor": 3.0, "gpus_per_worker": 0.0, "base": {},
    }  # fmt: skip
    return SearchSettings(**known | changes)


def stub_comparison(**changes: Any) -> ComparisonSettings:
    known: dict[str, Any] = {
        "models": "small", "ablations": True, "trials_per_model": 3, "space": "baselines",
        "space_sha256": "0" * 64, "base": {},
    }  # fmt: skip
    return ComparisonSettings(**known | changes)


def stub_config(**changes: Any) -> RunConfig:
    known: dict[str, Any] = {
        "command": "train", "thyroid": "0.1.0", "dataset": stub_dataset(), "recipe": {},
        "seeds": (0,), "search": None, "machine": {},
    }  # fmt: skip
    return RunConfig(**known | changes)


def changed(config: RunConfig, **changes: Any) -> RunConfig:
    """Change fields: `recipe__split__folds=5` changes one of a section."""
    plain = to_json(config)
    for name, value in changes.items():
        *sections, field = name.split("__")
        section = plain
        for each in sections:
            section = section.setdefault(each, {})
        section[field] = to_json(value) if dataclasses.is_dataclass(value) else value
    return from_json(RunConfig, plain)


def with_config(run: Path, **changes: Any) -> RunConfig:
    """Change fields of a run's config.json, as `changed` does."""
    config = changed(read_config(run), **changes)
    write_config(run, config)
    return config
