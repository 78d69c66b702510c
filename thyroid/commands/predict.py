"""`thyroid predict`."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from tyro.conf import Positional, arg

from thyroid.errors import InputError

if TYPE_CHECKING:
    from thyroid.model.predict_files import Prediction

LINES = 20
"""Maximum number of files that are listed one by one."""


def predict(
    model: Annotated[Positional[Path], arg(metavar="MODEL")],
    images: Annotated[Positional[tuple[Path, ...]], arg(metavar="IMAGE")],
    *,
    out: Path = Path("predictions.csv"),
    explain: Path | None = None,
    lang: Literal["en", "zh"] = "en",
    threads: int = 1,
) -> None:
    """Predict what scintigrams show.

    Args:
        model: folder that export wrote.
        images: NM DICOM files, PNG, JPEG or TIFF pictures, or folders of them.
        out: CSV file to write, with the outcome, credible classes, agreement of the networks,
            distance from the training images, and probabilities of each image.
        explain: page to write, with each image, its probabilities, and where the model looked.
        lang: language of that page, English or Chinese.
        threads: number of processor threads.
    """
    from thyroid.files import cannot_write, replace_text, require_writable
    from thyroid.model import predict_files
    from thyroid.workflows import predicting

    for path in (out, *([explain] if explain else [])):
        if path.is_dir():
            raise InputError(f"{path} is a folder: name a file.")
        require_writable(path.parent)
    if explain is not None and out in (explain, explain.with_suffix(".json")):
        raise InputError(f"{out} would be written twice: give --explain another name.")
    opened = predicting.Model.open(model)
    shown = 0
    if explain is not None:
        from reports.explain_page import MOST_IMAGES, write_explanation

        shown = MOST_IMAGES
    found, maps = predicting.predict(opened, images, threads=threads, heat_maps=shown)
    with cannot_write(out):
        out.parent.mkdir(parents=True, exist_ok=True)
    replace_text(out, predict_files.table(opened.network, found))
    if explain is not None:
        write_explanation(opened.network, found, maps, explain, lang)

    for one in found[:LINES]:
        print(predict_files.line(opened.network, one))
    if len(found) > LINES:
        print(f"... and {len(found) - LINES} more")
    _sum_up(found, out, explain)
    if not opened.network.learned:
        print("note: this model learned nothing: its answers are no better than chance")
    print("Not for clinical use.")


def _sum_up(found: list[Prediction], out: Path, explain: Path | None) -> None:
    """Print a summary of all predictions.

    Raises
    ------
    InputError
        When no file could be used.
    """
    from thyroid.model.predict_files import DOUBTFUL, TRAINING, UNCERTAIN, UNLIKE, UNREADABLE

    outcomes = Counter(one.outcome for one in found)
    if outcomes[UNREADABLE] == len(found):
        if len(found) == 1:
            raise InputError(f"{found[0].file} cannot be used: {found[0].reason}.")
        raise InputError(f"None of the {len(found)} files can be used: {out} has the reasons.")
    named = len(found) - outcomes[UNREADABLE] - outcomes[UNCERTAIN] - outcomes[UNLIKE]
    print(
        f"{len(found)} file{'s' if len(found) > 1 else ''}: {named} decided, "
        f"{outcomes[UNCERTAIN]} uncertain, {outcomes[UNLIKE]} unlike all training images, "
        f"{outcomes[UNREADABLE]} unreadable; see {out}" + (f" and {explain}" if explain else "")
    )
    known = sum(TRAINING in one.flags for one in found)
    if known:
        print(
            f"note: the model was trained or calibrated on {known} of these {len(found)} files "
            f"(flag {TRAINING}): its answers for them are no test of the model"
        )
    doubtful = Counter(flag for one in found for flag in one.flags if flag in DOUBTFUL)
    if doubtful:
        told = ", ".join(f"{number} {flag}" for flag, number in sorted(doubtful.items()))
        print(f"note: doubtful images, by their flags: {told}")
    unlike = sum(bool({"few_counts", "many_counts"} & set(one.flags)) for one in found)
    if unlike:
        print(f"note: files with fewer or more counts than any training image: {unlike}")
