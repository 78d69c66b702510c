"""The commands in README.md, the tutorial and the how-to pages work, and all links exist.

Blocks of ```sh run as they stand there, on smaller data and shorter trainings (options added at the
end of a line); commands in other blocks are parsed.
"""

from __future__ import annotations

import contextlib
import functools
import importlib
import io
import re
import shlex
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import optuna
import pandas as pd
import pytest
import yaml

import thyroid
from docs.make_reference import FOLDER, PAGES
from reports import inspect_page
from tests.short_trainings import MIXED
from thyroid.cli import SUMMARIES, main
from thyroid.data import data_checks
from thyroid.data.data_checks import NAMED_FLAGS
from thyroid.recipe import Recipe
from thyroid.space import load_space

ROOT = Path(__file__).parents[1]
TUTORIAL = "docs/tutorial.md"
HOW_TO = sorted(f"docs/how-to/{page.name}" for page in ROOT.glob("docs/how-to/*.md"))
TYPED = ("README.md", TUTORIAL, *HOW_TO)
LINKING = sorted(
    str(path.relative_to(ROOT))
    for place in ("*.md", "cluster/*.md", "docs/**/*.md", "thyroid/model/*/*.md")
    for path in ROOT.glob(place)
)

FENCED = re.compile(r"^```(\w*)\n(.*?)^```", re.M | re.S)
FEW_IMAGES = ["--images-per-class", "6", "--images-per-cross", "2"]
SHORTER = {
    "phantom": FEW_IMAGES,
    "train": ["--seeds", "1", *MIXED],
    "search": ["--trials", "2", "--final-seeds", "1", "--max-seeds", "1", *MIXED],
    "compare": ["--seeds", "1", "--trials-per-model", "1"],
}
"""Options added to a command of the tutorial; the last one of two counts."""


def text(name: str) -> str:
    return (ROOT / name).read_text()


def blocks(name: str) -> list[str]:
    """The fenced blocks, without their fences."""
    return [content for _, content in FENCED.findall(text(name))]


def run_blocks(name: str) -> list[str]:
    return [content for kind, content in FENCED.findall(text(name)) if kind == "sh"]


def lines(name: str, program: str) -> list[list[str]]:
    """The words of each line of a block that calls the program, with indented lines below it."""
    joined = [re.sub(r"\n {2,}", " ", block) for block in blocks(name)]
    typed = [line for block in joined for line in block.splitlines()]
    words = [shlex.split(line, comments=True) for line in typed if line.startswith(f"{program} ")]
    assert all(words)
    return words


def commands(name: str) -> Iterator[list[str]]:
    """The arguments of `thyroid`, here or sent to a cluster."""
    yield from (words[1:] for words in lines(name, "thyroid"))
    for words in lines(name, "ray"):
        sent = words[words.index("--") + 1 :] if "--" in words else []
        if "cluster/search.py" in words:
            yield ["search", *sent, "--address", "auto"]
        elif words[1:3] == ["job", "submit"]:
            assert sent[0] == "thyroid"
            yield sent[1:]


@pytest.mark.usefixtures("ray_here")
def test_the_commands_for_ones_own_images_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first block of README.md runs on pictures: every image of a folder gets an outcome, and a
    file that is no image is unreadable.
    """
    monkeypatch.chdir(tmp_path)
    assert main(["phantom", "scintigrams", "--format", "png", *FEW_IMAGES]) == 0
    assert main(["phantom", "new-scans", "--format", "png", "--seed", "1", *FEW_IMAGES]) == 0
    (block,) = run_blocks("README.md")
    for line in block.splitlines():
        command = shlex.split(line)[1:]
        if command[0] == "train":
            command += ["--folds", "2", "--schedule.constant-epochs", "1"]
            command += ["--schedule.warmup-epochs", "0", "--schedule.decay-epochs", "0"]
        assert main(command) == 0, line
    assert (tmp_path / "run" / "report.html").exists()
    outcomes = pd.read_csv("predictions.csv")["outcome"]
    assert len(outcomes) == 6 * 7 + 2 * 6
    assert "unreadable" not in list(outcomes)


@pytest.mark.usefixtures("ray_here")
def test_the_tutorial_goes_from_dicom_files_to_predictions(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All commands of the tutorial run, in its order, on few images and with short trainings; the
    rejected file, the held-out centre and the pages are there as it says.
    """
    monkeypatch.chdir(tmp_path)
    done = []
    for line in "".join(run_blocks(TUTORIAL)).splitlines():
        words = shlex.split(line)
        if words[0] != "thyroid":
            subprocess.run(["bash", "-c", line], check=True, timeout=60)
            continue
        command = words[1:]
        assert main(command + SHORTER.get(command[0], [])) == 0, line
        done.append(command[0])
    way = ["phantom", "import", "inspect", "train", "report", "search", "compare", "export"]
    assert list(dict.fromkeys(done)) == [*way, "predict"]

    rejected = pd.read_csv("data.rejected.csv")
    assert rejected.to_numpy().tolist() == [["notes.txt", "it has no row in labels.csv"]]
    assert "it has no row in labels.csv" in text(TUTORIAL)
    parts = pd.read_csv("without-b/split.csv").merge(pd.read_csv("data/images.csv"), on="image_id")
    assert set(parts["centre"][parts["part"] == "test"]) >= {"B"}
    assert "B" not in set(parts["centre"][parts["part"] != "test"])
    assert list(pd.read_csv("predictions.csv")["outcome"]).count("unreadable") == 0
    pages = ["data.html", "first/report.html", "first/report.zh.html", "without-b/report.html",
             "searched/report.html", "compared/report.html",
             "model/README.md", "page.html"]  # fmt: skip
    assert [page for page in pages if not Path(page).is_file()] == []


@pytest.mark.parametrize("name", LINKING)
def test_every_command_line_parses(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    called: list[str] = []
    names = {c: "import_" if c == "import" else c.replace("-", "_") for c in SUMMARIES}
    modules = {c: importlib.import_module(f"thyroid.commands.{names[c]}") for c in SUMMARIES}
    for command, module in modules.items():  # all are imported: some import from each other
        attribute = names[command]

        def record(*_: Any, command: str = command, **__: Any) -> None:
            called.append(command)

        monkeypatch.setattr(module, attribute, functools.wraps(getattr(module, attribute))(record))
    asked = list(commands(name))
    for command in asked:
        for word in command:
            if word.endswith("recipe.json"):
                Path(word).parent.mkdir(exist_ok=True)
                Path(word).write_text("{}")
        assert main(command) == 0, command
    assert called == [command[0] for command in asked]


def test_the_pages_have_commands_to_parse() -> None:
    assert {command[0] for name in TYPED for command in commands(name)} >= set(SUMMARIES) - {
        "demo",
        "pretrain",
    }


@pytest.mark.parametrize("name", [*TYPED, "cluster/README.md"])
def test_what_ray_and_make_are_given_exists(name: str) -> None:
    from ray.scripts.scripts import cli

    for _, *words in lines(name, "ray"):
        if words[-1] == "&":
            words.pop()
        command: click.Command = cli
        while isinstance(command, click.Group):
            found = command.get_command(click.Context(command), words.pop(0))
            assert found is not None, words
            command = found
        command.make_context(command.name, words)  # raises what the command would complain of
    targets = set(re.findall(r"^([\w-]+):", text("Makefile"), re.M))
    assert {word for words in lines(name, "make") for word in words[1:]} <= targets
    for file in re.findall(r"(?<![\w/])cluster/[\w-]+\.\w+", text(name)):
        assert (ROOT / file).is_file(), file


def test_the_space_of_ones_own_is_a_space(tmp_path: Path) -> None:
    (source,) = [block for block in blocks("docs/how-to/search.md") if "def space" in block]
    (tmp_path / "own.py").write_text(source)
    space = load_space(str(tmp_path / "own.py"))
    fixed = optuna.trial.FixedTrial({"learning_rate": 5e-4, "normalisation": "log_mean"})
    recipe = space(fixed, Recipe())
    assert recipe.optimiser.learning_rate == 5e-4
    assert recipe.input.normalisation == "log_mean"


@pytest.fixture(scope="module")
def known() -> set[str]:
    """Every option of every command."""
    told = io.StringIO()
    with contextlib.redirect_stdout(told):
        for name in SUMMARIES:
            with pytest.raises(SystemExit):
                main([name, "--help"])
    options = set(re.findall(r"(?<![\w-])--[a-z][\w.-]+", told.getvalue()))
    return options | {"--version", "--completion"}


@pytest.mark.parametrize("name", TYPED)
def test_every_command_and_option_within_a_sentence_exists(name: str, known: set[str]) -> None:
    prose = FENCED.sub("", text(name))
    named = set(re.findall(r"`thyroid (\w+)[ `]", prose))
    assert named <= set(SUMMARIES)
    options = set(re.findall(r"(?<![\w-])--[a-z][\w.-]+", prose))
    assert options <= known


def test_the_reference_is_what_the_commands_say() -> None:
    """`make docs` writes it anew."""
    for page, content in PAGES.items():
        assert (FOLDER / page).read_text() == content(), page


def test_the_tutorial_explains_every_check_and_names_no_other() -> None:
    table = text(TUTORIAL).split("| check ", 1)[1].split("\n\n", 1)[0]
    rows = [line.split("|")[1] for line in table.splitlines() if line.startswith("| `")]
    explained = {kind for row in rows for kind in re.findall(r"`(\w+)`", row)}
    source = "".join(Path(str(each.__file__)).read_text() for each in (data_checks, inspect_page))
    kinds = set(re.findall(r'kind="(\w+)"', source)) | set(NAMED_FLAGS)
    assert kinds <= explained
    assert all(f'"{kind}"' in source for kind in explained)


def anchors(markdown: str) -> set[str]:
    """Anchors of the headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.*)$", FENCED.sub("", markdown), re.M)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("name", LINKING)
def test_every_file_and_heading_that_is_linked_exists(name: str) -> None:
    for link in re.findall(r"\]\(([^)\s]+)\)", FENCED.sub("", text(name))):
        if ":" in link:
            continue
        file, _, anchor = link.partition("#")
        target = (ROOT / name).parent / file if file else ROOT / name
        assert target.is_file(), link
        assert not anchor or anchor in anchors(target.read_text()), link


def test_the_citation_is_of_this_version_and_of_the_publication_that_the_readme_names() -> None:
    citation = yaml.safe_load(text("CITATION.cff"))
    assert citation["version"] == thyroid.__version__
    assert (citation["license"], citation["type"]) == ("MIT", "software")
    (publication,) = citation["references"]
    readme = " ".join(text("README.md").split())
    for field in ("title", "journal"):
        assert publication[field] in readme
    pages = f"{publication['volume']}({publication['issue']}), {publication['start']}-"
    assert f"{pages}{publication['end']}, {publication['year']}" in readme
