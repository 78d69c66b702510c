"""Search platform for diagnosing thyroid scintigrams from few labelled examples.

Names for notebooks, each imported when it is first used:

    data = thyroid.Dataset.open("data")
    run = thyroid.search(data, "run", space="augmentation", trials=32)
    model = thyroid.export(run, "model")
    model.predict(["scan.dcm"])

Not for clinical use.
"""

import importlib
from typing import TYPE_CHECKING, Any

from thyroid.errors import InputError, StageFailed

if TYPE_CHECKING:
    from thyroid.data.dataset import Dataset
    from thyroid.recipe import Recipe, override
    from thyroid.workflows.comparing import compare
    from thyroid.workflows.exporting import export
    from thyroid.workflows.importing import import_files
    from thyroid.workflows.predicting import Model
    from thyroid.workflows.recalibrating import recalibrate
    from thyroid.workflows.run import Run
    from thyroid.workflows.searching import search
    from thyroid.workflows.training import train

__version__ = "0.1.0"

__all__ = [
    "Dataset",
    "InputError",
    "Model",
    "Recipe",
    "Run",
    "StageFailed",
    "compare",
    "export",
    "import_files",
    "override",
    "recalibrate",
    "search",
    "train",
]

_WHERE = {
    "Dataset": "data.dataset",
    "Model": "workflows.predicting",
    "Recipe": "recipe",
    "Run": "workflows.run",
    "compare": "workflows.comparing",
    "export": "workflows.exporting",
    "import_files": "workflows.importing",
    "override": "recipe",
    "recalibrate": "workflows.recalibrating",
    "search": "workflows.searching",
    "train": "workflows.training",
}
"""Name -> its module, which is imported on first use: torch, Ray and pandas take seconds."""


def __getattr__(name: str) -> Any:
    if name not in _WHERE:
        raise AttributeError(f"module 'thyroid' has no attribute '{name}'")
    found = getattr(importlib.import_module(f"thyroid.{_WHERE[name]}"), name)
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
