"""A run's folder for a notebook: results and trials as frames, recipes, the report."""

from __future__ import annotations

import html
from functools import cached_property
from pathlib import Path
from typing import Any

import pandas as pd

from reports.estimates import Estimate
from reports.report import write_report
from reports.run import read_run
from reports.sections.comparison import comparison_info
from reports.sections.comparison_metrics import RowMetrics
from reports.sections.results import OverallMetrics, results_info
from thyroid.recipe import Recipe, read_recipe
from thyroid.run_files.config_json import RECIPE, RunConfig, read_config, recipe_of
from thyroid.run_files.trials_csv import read_trials
from thyroid.runs.compared_recipes import METHOD

METRICS = ("macro_f1", "accuracy")


class Run:
    """The result of train, search or compare; its files are read on demand.

    Parameters
    ----------
    folder : the run's folder

    Raises
    ------
    InputError
        When the folder holds no run.
    """

    def __init__(self, folder: Path | str) -> None:
        self.folder = Path(folder)
        self.config: RunConfig = read_config(self.folder)
        """Content of config.json at the time when the run was opened."""

    @classmethod
    def open(cls, folder: Path | str) -> Run:
        """Return the run in a folder that train, search, compare or demo has filled."""
        return cls(folder)

    @property
    def recipe(self) -> Recipe:
        """The recipe that the run began with."""
        return recipe_of(self.folder, self.config.base)

    @property
    def best_recipe(self) -> Recipe:
        """The run's final recipe, recipe.json: the best of a search, the one that a comparison
        chose for the method, or else the given recipe.
        """
        return read_recipe(self.folder / RECIPE)

    @cached_property
    def results(self) -> pd.DataFrame:
        """The report's numbers: a row for the recipe, and for each recipe it was compared with.

        Columns: `recipe`, `kind` (method, baseline, ablation), `part` (test, or validation where
        there is no test part), `images`, `folds`, `seeds`, `macro_f1` and `accuracy` with `_low`
        and `_high` (95 % intervals), and for the other recipes `difference` (the method's macro-F1
        minus the row's, mean of single networks), `difference_low`, `difference_high` and
        `p_value`, corrected by Holm's method. With several folds, `macro_f1` and `accuracy` are
        those of the ensemble of all networks on the test part; without a test part, images are
        predicted out of fold. The frame is empty while the run has no predictions. It is computed
        once: if the run was not finished, open it again.
        """
        read = read_run(self.folder)
        results = results_info(read)
        if results is None:
            return pd.DataFrame(
                columns=["recipe", "kind", "part", "images", "folds", "seeds", *METRICS]
            )
        compared = comparison_info(read, results)
        others = [row for table in compared.tables for row in table.others] if compared else []
        every = {"part": results.part, "images": results.images, "folds": results.folds}
        method: dict[str, Any] = {"recipe": METHOD, "kind": METHOD, **every}
        listed = [method | {"seeds": len(results.seeds)} | _metrics(results.overall)]
        for row in others:
            named: dict[str, Any] = {"recipe": row.name, "kind": row.kind, **every}
            named |= {"seeds": row.seeds} | _metrics(row.metrics)
            listed.append(named | _columns("difference", row.difference) | {"p_value": row.p_value})
        return pd.DataFrame(listed)

    @property
    def predictions(self) -> pd.DataFrame:
        """A row for each image and seed of the recipe: columns of predictions/, `part`, `seed`."""
        read = read_run(self.folder)
        columns = [f"p_{name}" for name in read.classes]
        frames = [
            predicted.images.assign(
                **dict(zip(columns, predicted.probabilities.T, strict=True)),
                part=part,
                seed=seed,
            )
            for part, by_seed in read.predictions.items()
            for seed, predicted in by_seed.items()
        ]
        return pd.concat(frames, ignore_index=True) if frames else pd.DataFrame()

    @property
    def trials(self) -> pd.DataFrame:
        """trials.csv, a row for each trial of a search; empty if the run is not a search."""
        return pd.DataFrame([trial.row for trial in read_trials(self.folder)])

    def report(self, lang: str = "en") -> Path:
        """Write the report, in English or Chinese (`zh`): RUN/report.html, RUN/report.zh.html."""
        return write_report(self.folder, lang=lang)

    def __repr__(self) -> str:
        return f"Run({str(self.folder)!r})"

    def _repr_html_(self) -> str:
        data, named = self.config.dataset, html.escape(str(self.folder))
        about = f"{self.config.command} on {data.name}, {data.images} images"
        shown = self.results.to_html(index=False, float_format="{:.3f}".format, na_rep="")
        return f"<p><b>{named}</b>: {html.escape(about)}</p>{shown}"


def _metrics(metrics: OverallMetrics | RowMetrics) -> dict[str, float | None]:
    return _columns("macro_f1", metrics.macro_f1) | _columns("accuracy", metrics.accuracy)


def _columns(name: str, estimate: Estimate | None) -> dict[str, float | None]:
    value, low, high = (estimate.value, estimate.low, estimate.high) if estimate else (None,) * 3
    return {name: value, f"{name}_low": low, f"{name}_high": high}
