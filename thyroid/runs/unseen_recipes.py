"""The recipes for a combination of findings that is left out of training and used in tests.

Its patients are in neither the training nor the validation part, so that no generator, filter or
choice of a recipe has seen them. Training then gets only synthetic or superposed crosses of it.
"""

from __future__ import annotations

import re

from thyroid.data.splits import make_split, shows
from thyroid.errors import InputError
from thyroid.progress import say
from thyroid.recipe import Recipe, override
from thyroid.runs.compared_recipes import Row
from thyroid.runs.dosed_recipes import REAL_ALONE, drawn_by, title_of
from thyroid.runs.experiment import Experiment

NEVER, REAL = "unseen-never", "unseen-real"
DOSE = 0.5
"""Share of synthetic images among all images, or of superpositions among the cross images."""


def unseen_rows(
    recipe: Recipe, combination: str, generators: tuple[str, ...], kind: str = "counts"
) -> list[Row]:
    """Return the recipe on real images without the combination, with superposed or synthetic
    crosses of it, and on real images with it.

    Superposed crosses need a cross phase and photon counts.

    Parameters
    ----------
    kind : kind of the data, counts or display
    """
    without = REAL_ALONE | {"split.unseen": combination, "cross.superposed": 0.0}
    crosses = recipe.synthesis.crosses
    named = {"synthesis.crosses": combination if crosses == "none" else f"{crosses},{combination}"}
    rows = [_row(NEVER, "never given", override(recipe, without))]
    if recipe.cross.order == "retrain" and kind == "counts":
        superposed = without | named | {"cross.superposed": DOSE}
        rows.append(_row("unseen-superposed", "superposed", override(recipe, superposed)))
    for generator in generators:
        given = without | named | drawn_by(generator, recipe) | {"mixing.dose": DOSE}
        name = re.sub(r"[^\w-]", "-", f"unseen-{generator}")
        rows.append(_row(name, title_of(generator), override(recipe, given)))
    seen = REAL_ALONE | {"split.unseen": None, "cross.superposed": 0.0}
    rows.append(_row(REAL, "real images of it", override(recipe, seen)))
    return rows


def require_testable(experiment: Experiment, combination: str) -> None:
    """Require that the combination can be tested; say so if no other image shows it.

    Raises
    ------
    InputError
        When the combination names unknown classes, or no test image shows it.
    """
    dataset, test_set = experiment.dataset, experiment.test_set
    recipe = override(experiment.recipe, {"split.unseen": combination})
    findings = recipe.split.unseen_findings
    shown = shows(dataset, findings)
    held_back = int(shown[make_split(dataset, recipe.in_fold(0).split).test].sum())
    tested = held_back if test_set is None else int(shows(test_set, findings).sum())
    if not tested:
        raise InputError(
            f"--unseen {combination}: no test image shows this combination, so it cannot be "
            "tested; name another one, or give a --test-set that has it."
        )
    if shown.sum() == held_back:
        say(f"No image outside the test part shows {combination}: there is none to leave out.")


def _row(name: str, title: str, recipe: Recipe) -> Row:
    return Row(name=name, kind="unseen", title=title, recipe=recipe)
