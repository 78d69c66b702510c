"""The recipe: every setting that decides a result, as frozen dataclasses.

Imports nothing heavy, so that trial drivers and `--help` stay light.
"""

from thyroid.recipe.data_config import AugmentationConfig, InputConfig, SplitConfig
from thyroid.recipe.generator_config import (
    DcganConfig,
    FlowConfig,
    MixingConfig,
    SrganConfig,
    SynthesisConfig,
)
from thyroid.recipe.presets import RECIPES
from thyroid.recipe.recipe import Recipe, for_data, for_training, override, read_recipe
from thyroid.recipe.training_config import (
    DESIGNS,
    CrossConfig,
    ExecutionConfig,
    FineTuningConfig,
    Layout,
    NetworkConfig,
    OptimiserConfig,
    Precision,
    ScheduleConfig,
    Views,
)

__all__ = [
    "DESIGNS",
    "RECIPES",
    "AugmentationConfig",
    "CrossConfig",
    "DcganConfig",
    "ExecutionConfig",
    "FineTuningConfig",
    "FlowConfig",
    "InputConfig",
    "Layout",
    "MixingConfig",
    "NetworkConfig",
    "OptimiserConfig",
    "Precision",
    "Recipe",
    "ScheduleConfig",
    "SplitConfig",
    "SrganConfig",
    "SynthesisConfig",
    "Views",
    "for_data",
    "for_training",
    "override",
    "read_recipe",
]
