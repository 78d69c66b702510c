"""A wheel has all that starting a cluster takes, and `thyroid cluster-files` writes it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest
import yaml

from tests.cluster.hosts import REPOSITORY
from thyroid.cli import main

SOURCES = ("thyroid", "tune_spaces", "reports", "cluster")
BESIDE = ("pyproject.toml", "constraints.txt", "README.md", "LICENSE")


def files(folder: Path) -> dict[str, bytes]:
    """Content of all files, by their paths."""
    found = {path.relative_to(folder).as_posix(): path for path in folder.rglob("*")}
    return {
        name: path.read_bytes()
        for name, path in found.items()
        if path.is_file() and "__pycache__" not in name
    }


def pip(*words: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "pip", "--disable-pip-version-check", *words],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The working copy without what is no part of the package: building writes beside it."""
    folder = tmp_path_factory.mktemp("source")
    for name in SOURCES:
        without = shutil.ignore_patterns("__pycache__")
        shutil.copytree(REPOSITORY / name, folder / name, ignore=without)
    for name in BESIDE:
        shutil.copy(REPOSITORY / name, folder)
    return folder


def test_a_wheel_brings_what_the_working_copy_has(source: Path, tmp_path: Path) -> None:
    wanted = files(source)
    pip("wheel", str(source), "--no-deps", "--no-build-isolation", "-w", str(tmp_path))
    (wheel,) = tmp_path.glob("*.whl")
    prefix = str(tmp_path / "prefix")
    pip("install", "--no-deps", "--ignore-installed", "--prefix", prefix, str(wheel))
    site = sysconfig.get_path("purelib", "posix_prefix", {"base": prefix})
    folder = tmp_path / "written"
    done = subprocess.run(
        [sys.executable, "-m", "thyroid.cli", "cluster-files", str(folder)],
        env={**os.environ, "PYTHONPATH": site},
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    written = files(folder)
    assert {Path(name).suffix for name in wanted.keys() - written.keys()} <= {".md", ".cfg", ".png"}
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
