"""Source distribution and wheel: their contents, their metadata, and `thyroid cluster-files`."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import zipfile
from pathlib import Path

import pytest
import yaml
from packaging.metadata import Metadata
from packaging.requirements import Requirement

import thyroid
from tests.cluster.hosts import REPOSITORY
from thyroid.cli import main

SOURCES = ("thyroid", "tune_spaces", "reports", "cluster")
BESIDE = ("pyproject.toml", "constraints.txt", "README.md", "LICENSE")
OF_THE_SOURCE = ("MANIFEST.in", "CHANGELOG.md", "CITATION.cff")


def files(folder: Path) -> dict[str, bytes]:
    """Content of all files, by their paths."""
    found = {path.relative_to(folder).as_posix(): path for path in folder.rglob("*")}
    return {
        name: path.read_bytes()
        for name, path in found.items()
        if path.is_file() and "__pycache__" not in name
    }


def run(*words: str, folder: Path) -> None:
    done = subprocess.run([sys.executable, *words], cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def pip(*words: str, folder: Path) -> None:
    run("-m", "pip", "--disable-pip-version-check", *words, folder=folder)


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the working copy: building writes beside it."""
    folder = tmp_path_factory.mktemp("source")
    for name in SOURCES:
        without = shutil.ignore_patterns("__pycache__")
        shutil.copytree(REPOSITORY / name, folder / name, ignore=without)
    for name in (*BESIDE, *OF_THE_SOURCE):
        shutil.copy(REPOSITORY / name, folder)
    (folder / "tests").mkdir()
    shutil.copy(__file__, folder / "tests")
    return folder


@pytest.fixture(scope="module")
def sdist(source: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The source distribution."""
    folder = tmp_path_factory.mktemp("sdist")
    shutil.copytree(source, folder / "source")
    build = f"import setuptools.build_meta as build; build.build_sdist({str(folder)!r})"
    run("-c", build, folder=folder / "source")
    (made,) = folder.glob("*.tar.gz")
    return made


@pytest.fixture(scope="module")
def wheel(sdist: Path) -> Path:
    """The wheel, built from the source distribution, as pip does where it finds no wheel."""
    pip("wheel", str(sdist), "--no-deps", "--no-build-isolation", "-w", ".", folder=sdist.parent)
    (made,) = sdist.parent.glob("*.whl")
    return made


def test_the_source_distribution_has_the_packages_and_no_tests(source: Path, sdist: Path) -> None:
    with tarfile.open(sdist) as packed:
        paths = [member.name.partition("/")[2] for member in packed if member.isfile()]
    names = {name for name in paths if ".egg-info/" not in name}
    wanted = {name for name in files(source) if not name.startswith("tests/")}
    undeclared = {name for name in wanted - names if not name.endswith((".md", ".cfg"))}
    assert undeclared == set()
    assert names - wanted == {"PKG-INFO", "setup.cfg"}


def test_the_wheel_has_packages_templates_translations_starting_points_and_no_tests(
    wheel: Path,
) -> None:
    with zipfile.ZipFile(wheel) as packed:
        names = set(packed.namelist())
    packages = {"thyroid", "tune_spaces", "reports"}
    beside = {f"thyroid-{thyroid.__version__}.{kind}" for kind in ("dist-info", "data")}
    assert {name.split("/")[0] for name in names} == packages | beside
    for name in (
        "thyroid/__main__.py",
        "thyroid/py.typed",
        "reports/templates/report.html",
        "reports/templates/page.css",
        "reports/sections/results.html",
        "reports/languages/zh.po",
        "thyroid/model/starting_points/resnet_small-counts.safetensors",
        f"thyroid-{thyroid.__version__}.data/data/share/thyroid/constraints.txt",
        f"thyroid-{thyroid.__version__}.data/data/share/thyroid/cluster/onprem.yaml",
        f"thyroid-{thyroid.__version__}.dist-info/licenses/LICENSE",
    ):
        assert name in names, name


def test_the_metadata_are_valid_and_those_of_the_project(wheel: Path) -> None:
    inside = f"thyroid-{thyroid.__version__}.dist-info"
    with zipfile.ZipFile(wheel) as packed:
        told = Metadata.from_email(packed.read(f"{inside}/METADATA"), validate=True)
        programs = packed.read(f"{inside}/entry_points.txt").decode()
    assert (told.name, str(told.version)) == ("thyroid", thyroid.__version__)
    assert told.license_expression == "MIT"
    assert told.description_content_type == "text/markdown"
    assert told.description == (REPOSITORY / "README.md").read_text()
    assert programs.split() == ["[console_scripts]", "thyroid", "=", "thyroid.cli:main"]
    pinned = dict(
        line.split("==") for line in (REPOSITORY / "constraints.txt").read_text().splitlines()
    )
    names = {name.lower().replace("_", "-"): number for name, number in pinned.items()}
    for needed in map(Requirement, map(str, told.requires_dist or [])):
        if needed.marker is None:  # of the package itself: not of an extra
            assert names[needed.name.lower()] in needed.specifier, needed


def test_a_wheel_brings_what_the_working_copy_has(
    source: Path, wheel: Path, tmp_path: Path
) -> None:
    wanted = files(source)
    prefix = str(tmp_path / "prefix")
    pip(
        *("install", "--no-deps", "--ignore-installed", "--prefix", prefix, str(wheel)),
        folder=tmp_path,
    )
    site = sysconfig.get_path("purelib", "posix_prefix", {"base": prefix})
    folder = tmp_path / "written"
    done = subprocess.run(
        [sys.executable, "-m", "thyroid", "cluster-files", str(folder)],
        env={**os.environ, "PYTHONPATH": site},
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    written = files(folder)
    lacking = {name for name in wanted.keys() - written.keys() if not name.startswith("tests/")}
    assert lacking <= {*OF_THE_SOURCE, "reports/languages/babel.cfg"}
    assert {name: wanted.get(name) for name in written} == written
    for file in (folder / "cluster").glob("*.yaml"):
        for config in yaml.safe_load_all(file.read_text()):
            sent = config.get("file_mounts", {}).values()
            assert all((folder / path).exists() for path in sent if not path.startswith("~"))


def test_the_working_copy_writes_the_same_and_overwrites_nothing(
    source: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "written"
    assert main(["cluster-files", str(folder)]) == 0
    assert files(folder).keys() >= {
        f"cluster/{name}" for name in os.listdir(REPOSITORY / "cluster")
    }
    assert files(folder)["cluster/onprem.yaml"] == (source / "cluster/onprem.yaml").read_bytes()
    capsys.readouterr()
    assert main(["cluster-files", str(folder)]) == 2
    assert "holds something else: name a new folder" in capsys.readouterr().err
