"""A missing, additional or unknown word gives one sentence; private names of tyro still exist."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

TRAIN = ["train", "data", "run"]


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (
            ["phantom", "p", "--format", "jpg"],
            "--format 'jpg' is unknown: choose dataset, dicom or",
        ),
        (["inspect", "data", "--lang=de"], "--lang 'de' is unknown: choose en or zh"),
        ([*TRAIN, "--network.precision", "int8"], "'int8' is unknown: choose auto, fp32 or bf16"),
        ([*TRAIN, "--seeds", "three"], "--seeds is 'three' but must be a whole number"),
        ([*TRAIN, "--seeds=2.5"], "--seeds is '2.5' but must be a whole number"),
        ([*TRAIN, "--seeds="], "--seeds is '' but must be a whole number"),
        ([*TRAIN, "--optimiser.learning_rate", "fast"], "'fast' but must be a number"),
        ([*TRAIN, "--seeds"], "--seeds is missing its value"),
        ([*TRAIN, "more"], "Unexpected argument 'more'"),
        ([*TRAIN, "--dry-run", "yes"], "Unexpected argument 'yes'"),
        ([*TRAIN, "--input.sise", "3"], "no option --input.sise (is it --input.size?)"),
        (["train", "data", "--stroe=x"], "no option --stroe (is it --store?)"),
        ([*TRAIN, "-v"], "There is no option -v"),
        ([*TRAIN, "--onnx"], "There is no option --onnx"),
        (["train"], "DATASET and RUN are missing"),
        (["train", "data"], "RUN is missing"),
        (["search", "data", "run"], "--space is missing"),
        (["trian", "data"], "no command 'trian' (is it train?)"),
    ],
)
def test_a_wrong_word_is_one_sentence_that_names_it(
    words: list[str], sentence: str, refused: Callable[..., str]
) -> None:
    assert "--help`" in refused(words, sentence)


def test_places_and_data_are_refused_before_torch_or_ray_is_imported(
    toy: Path, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("")
    (tmp_path / "link").symlink_to("nowhere")
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "dataset.json").write_text("{}")
    run, search = tmp_path / "some" / "run", ["search", toy, "--space", "joint"]
    told = [
        ([*search, toy], "is a data set: name another folder"),
        ([*search, toy / "run"], "is a data set: name another folder"),
        ([*search, "/dev/null"], "/dev/null is a file: name a folder"),
        ([*search, "/proc/x"], "Cannot write /proc/x"),
        ([*search, tmp_path / "file"], "file is a file: name a folder"),
        ([*search, tmp_path / "file" / "run"], "Cannot write"),
        ([*search, tmp_path / "link"], "is a broken link: name a folder"),
        ([*search, tmp_path / ("x" * 300)], "File name too long"),
        ([*search, run, "--store", "/proc/x"], "Cannot write /proc/x"),
        ([*search, run, "--store", "/dev/null"], "/dev/null is a file: name a folder"),
        (["train", tmp_path / "none", run], "is not a data set"),
        (["compare", tmp_path / "file", run], "cannot read"),
        (["train", "/dev/null", run], "cannot read /dev/null"),
        (["train", tmp_path / "broken", run], "broken"),
    ]
    words = [[str(word) for word in words] for words, _ in told]
    code = (
        "import sys; from thyroid.cli import main\n"
        f"assert [main(words) for words in {words}] == [2] * {len(words)}\n"
        "sys.exit(bool({'torch', 'ray'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    for line, (_, sentence) in zip(done.stderr.splitlines(), told, strict=True):
        assert sentence in line
    assert not run.parent.exists()


@pytest.mark.parametrize("name", ["inspect", "import", "report", "predict", "store", "train"])
def test_paths_that_are_none_are_a_sentence_of_every_command(
    name: str, tmp_path: Path, refused: Callable[..., str]
) -> None:
    (tmp_path / "loop").symlink_to("loop")
    for path, sentence in [
        (str(tmp_path / "loop"), "Too many levels of symbolic links"),
        ("x" * 300, "File name too long"),
        ("", "An argument is empty: a variable of the shell"),
    ]:
        more = [] if name in ("inspect", "report", "store") else [str(tmp_path / "other")]
        refused([name, path, *more], sentence)
