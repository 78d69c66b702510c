"""Only data are loaded: no reader in the source executes code, and planted code is refused."""

from __future__ import annotations

import ast
import io
import json
import os
import pickle
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from tests.toy import made, toy_generators, toy_recipe
from thyroid import pipeline
from thyroid.data.dataset import Dataset
from thyroid.errors import InputError
from thyroid.evaluate.novelty import feature_reference
from thyroid.execution.in_process import in_process
from thyroid.files import sha256_of
from thyroid.model.model_folder import member_files, read_model
from thyroid.networks.activations import activations
from thyroid.networks.build import build
from thyroid.recipe import NetworkConfig, Recipe
from thyroid.run_files.cases_json import read_cases
from thyroid.run_files.features_file import FILE, NetworkFeatures, write_features
from thyroid.run_files.network import Network
from thyroid.stage import Stage
from thyroid.storage.store import MANIFEST, Store

ROOT = Path(__file__).parents[2]
SOURCES = sorted(
    path for folder in ("thyroid", "tune_spaces", "reports", "cluster")
    for path in (ROOT / folder).rglob("*.py")
)  # fmt: skip
ARCHIVES = {"tarfile", "zipfile"}
"""Formats that are not read: names in them could lead anywhere."""
NPZ = "thyroid/data/medmnist.py"
"""Reads six members of a zip archive by name, in memory; nothing is unpacked to the disk."""
MODULES = {"pickle", "cPickle", "_pickle", "cloudpickle", "dill", "marshal", "shelve", "joblib"}
CALLS = {
    "eval", "exec", "compile", "os.system", "os.popen", "runpy.run_path", "pandas.read_pickle",
    "pd.read_pickle", "pandas.read_hdf", "pd.read_hdf", "yaml.load", "yaml.unsafe_load",
    "torch.jit.load", "torch.hub.load", "numpy.fromregex",
}  # fmt: skip
SETTINGS = {
    "np.load": ("allow_pickle", False),
    "numpy.load": ("allow_pickle", False),
    "torch.load": ("weights_only", True),
}
"""Calls that are safe with one keyword."""


def faults(tree: ast.AST) -> Iterator[str]:
    """Calls in a source that might execute the content that they read."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names = [node.module or ""]
        else:
            names = []
        yield from (f"imports {name}" for name in names if name.split(".")[0] in MODULES | ARCHIVES)
        if not isinstance(node, ast.Call):
            continue
        name = ast.unparse(node.func)
        given = {keyword.arg: keyword.value for keyword in node.keywords}
        if name in CALLS:
            yield f"calls {name}"
        if name in SETTINGS:
            keyword, wanted = SETTINGS[name]
            value = given.get(keyword)
            if not isinstance(value, ast.Constant) or value.value is not wanted:
                yield f"calls {name} without {keyword}={wanted}"
        if "shell" in given:
            yield f"calls {name} with a shell"


def test_no_source_executes_what_it_reads() -> None:
    assert len(SOURCES) > 150
    found = {
        str(path.relative_to(ROOT)): list(faults(ast.parse(path.read_text(encoding="utf-8"))))
        for path in SOURCES
    }
    assert {path: said for path, said in found.items() if said} == {NPZ: ["imports zipfile"]}
    assert "extract" not in (ROOT / NPZ).read_text(encoding="utf-8")


def test_the_scan_finds_what_it_looks_for() -> None:
    for source in (
        "import pickle", "from joblib import load", "np.load(f)", "np.load(f, allow_pickle=True)",
        "torch.load(f)", "torch.load(f, weights_only=flag)", "eval(x)", "pd.read_pickle(f)",
        "subprocess.run(x, shell=True)", "yaml.load(f)", "import cloudpickle.cloudpickle",
    ):  # fmt: skip
        assert len(list(faults(ast.parse(source)))) == 1, source
    sound = "np.load(f, allow_pickle=False); torch.load(f, weights_only=True); network.eval()"
    assert list(faults(ast.parse(sound))) == []


class Trap:
    """Creates a file when it is unpickled."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Any, ...]:
        return os.open, (str(self.mark), os.O_CREAT | os.O_WRONLY)


def as_npy(trap: Trap) -> bytes:
    file = io.BytesIO()
    np.save(file, np.array([trap], dtype=object), allow_pickle=True)
    return file.getvalue()


def as_torch(trap: Trap) -> bytes:
    file = io.BytesIO()
    torch.save({"conv1.weight": trap}, file)
    return file.getvalue()


def as_old_torch(trap: Trap) -> bytes:
    file = io.BytesIO()
    torch.save({"conv1.weight": trap}, file, _use_new_zipfile_serialization=False)
    return file.getvalue()


KINDS = {"pickle": lambda trap: pickle.dumps(trap), "NPY": as_npy, "torch": as_torch,
         "old torch": as_old_torch}  # fmt: skip


@pytest.fixture(params=KINDS)
def planted(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[bytes]:
    """A file that would create another, which must not be there in the end."""
    mark = tmp_path / "executed"
    content = KINDS[request.param](Trap(mark))
    yield content
    assert not mark.exists()
    if request.param == "pickle":  # it would have
        os.close(pickle.loads(content))  # noqa: S301
        assert mark.exists()


def test_in_a_data_set(
    planted: bytes, toy: Path, tmp_path: Path, refused: Callable[..., str]
) -> None:
    for name, sentence in (
        ("counts.npy", "is not an NPY file of"),
        ("images.csv", "cannot be read as the table"),
        ("dataset.json", "does not describe a data set"),
    ):
        folder = tmp_path / name
        shutil.copytree(toy, folder)
        (folder / name).write_bytes(planted)
        if name == "counts.npy":
            info = json.loads((folder / "dataset.json").read_text())
            info["sha256"] = sha256_of(folder / name)
            (folder / "dataset.json").write_text(json.dumps(info))
        refused(["inspect", str(folder)], sentence)
        refused(["train", str(folder), str(tmp_path / "run")], sentence)


@pytest.mark.parametrize("option", ["--weights", "--vgg19"])
def test_in_weights(
    option: str, planted: bytes, toy: Path, tmp_path: Path, refused: Callable[..., str]
) -> None:
    weights = tmp_path / "weights.pth"
    weights.write_bytes(planted)
    command = ["train", str(toy), str(tmp_path / "run"), option, str(weights)]
    command += ["--mixing.cross-share", "None"]  # of which there are none
    refused(command, "does not hold the weights of")


def test_in_a_model(planted: bytes, tmp_path: Path, refused: Callable[..., str]) -> None:
    model = write_model(tmp_path / "model")
    image = str(tmp_path / "image.dcm")
    sound = json.loads((model / "model.json").read_text())
    for name, digest in zip(
        member_files(Network(0, 0)), ("weights_sha256", "features_sha256"), strict=True
    ):
        before = (model / name).read_bytes()
        (model / name).write_bytes(planted)
        refused(["predict", str(model), image], "damaged, or was changed")
        member = sound["members"][0] | {digest: sha256_of(model / name)}
        (model / "model.json").write_text(json.dumps(sound | {"members": [member]}))
        refused(["predict", str(model), image], "damaged, or was changed")
        (model / name).write_bytes(before)
        (model / "model.json").write_text(json.dumps(sound))
    (model / "model.json").write_bytes(planted)
    refused(["predict", str(model), image], "is damaged: export the model again")


def plant(stage: Stage, name: str, content: bytes, root: Path) -> None:
    """Replace a file of an artifact, and its checksum."""
    folder = Store(root).artifact(stage.key)
    (folder / name).write_bytes(content)
    manifest = json.loads((folder / MANIFEST).read_text())
    manifest["files"][name] = sha256_of(folder / name)
    (folder / MANIFEST).write_text(json.dumps(manifest))


def test_in_a_run(planted: bytes, tmp_path: Path) -> None:
    cases = tmp_path / "cases"
    for name in ("images.npy", "heat.npy", "cases.json"):
        cases.mkdir()
        (cases / "cases.json").write_text('{"format_version": 1, "cases": []}')
        for sound, dtype in (("images.npy", np.uint16), ("heat.npy", np.float16)):
            np.save(cases / sound, np.zeros((0, 8, 8), dtype))
        assert read_cases(cases, ("a", "b")) is not None
        (cases / name).write_bytes(planted)
        with pytest.raises(InputError, match="cases is damaged"):
            read_cases(cases, ("a", "b"))
        shutil.rmtree(cases)


@pytest.fixture(scope="module")
def trained(toy: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Recipe, str]:
    """A store with all that a recipe with synthetic images needs. Tests must not change it."""
    root = tmp_path_factory.mktemp("trained") / "store"
    recipe, digest = toy_generators(), Dataset.open(toy).digest
    made(pipeline.prediction(recipe, digest, 0, "validation"), toy, root)
    return root, recipe, digest


def stages(recipe: Recipe, digest: str) -> dict[str, tuple[Stage, str, Stage]]:
    """Planted content, its file, and a stage that reads it."""
    segments = pipeline.classifier(recipe, digest, 0)
    prediction = pipeline.prediction(recipe, digest, 0, "validation")
    synthesis = pipeline.synthesis(recipe, digest, 0)
    generator, upscaler = synthesis.inputs["dcgan"], synthesis.inputs["srgan"]
    return {
        "a classifier": (segments[-1], "model.safetensors", prediction),
        "its optimiser": (segments[0], "optimiser.safetensors", segments[1]),
        "a generator": (generator, "generator.safetensors", synthesis),
        "an upscaler": (upscaler, "upscaler.safetensors", synthesis),
        "verdicts": (synthesis, "verdicts.npy", segments[0]),
    }


@pytest.mark.parametrize(
    "what", ["a classifier", "its optimiser", "a generator", "an upscaler", "verdicts"]
)
def test_in_a_store_with_a_checksum_that_is_right(
    what: str, planted: bytes, trained: tuple[Path, Recipe, str], toy: Path, tmp_path: Path
) -> None:
    root, recipe, digest = trained
    root = Path(shutil.copytree(root, tmp_path / "store"))
    stage, name, reader = stages(recipe, digest)[what]
    plant(stage, name, planted, root)
    shutil.rmtree(Store(root).artifact(reader.key))
    with pytest.raises(InputError, match=rf"{name} is no \w+ file: remove .*{stage.key}") as told:
        list(in_process(Store(root), {digest: toy})([reader]))
    assert "\n" not in str(told.value)


def write_model(folder: Path, **changes: Any) -> Path:
    """A model as `thyroid export` writes it, of a network that was never trained."""
    (folder / "members").mkdir(parents=True)
    network = toy_recipe().network
    torch.manual_seed(0)
    built = build(network, 3)
    weights, features = (folder / name for name in member_files(Network(0, 0)))
    save_file(built.state_dict(), weights)
    dimensions = activations(built.eval(), torch.zeros(1, 1, 32, 32)).shape[1]
    seen = np.random.default_rng(0).random((20, dimensions))
    known = NetworkFeatures(
        reference=feature_reference(seen, np.arange(20) % 3),
        altered=feature_reference(seen[::-1], np.arange(20) % 2),
        held_out=np.ones(4),
        held_out_relative=np.ones(4),
    )
    write_features(folder, known)
    (folder / FILE).rename(features)
    hashes = {"weights_sha256": sha256_of(weights), "features_sha256": sha256_of(features)}
    card = {
        "format_version": 3,
        "name": "toy",
        "classes": ["left", "right", "below"],
        "kind": "counts",
        "size": 32,
        "pixel_mm": 4.0,
        "total_counts": None,
        "input": {"size": 32, "normalisation": "sqrt_mean"},
        "network": {"name": network.name, "width": network.width, "cross_feature": "none"},
        "calibration": {"temperature": 1.0, "threshold": 0.9, "level": 0.95},
        "views": "shifts",
        "members": [{"fold": 0, "seed": 0, "distance_scale": 1.0, **hashes}],
        "gate": {"threshold": 2.0, "relative": 3.0, "level": 0.99},
    }
    (folder / "model.json").write_text(json.dumps(card | changes))
    return folder


def test_a_card_that_asks_for_more_than_its_weights_hold(tmp_path: Path) -> None:
    """A file of 60 kB describes a network of 38 GB: the network is compared with its weights before
    memory is allocated.
    """
    assert read_model(write_model(tmp_path / "sound")).classes == ("left", "right", "below")
    wide = {"name": NetworkConfig().name, "width": 4096}
    with pytest.raises(InputError, match="its weights do not fit the network"):
        read_model(write_model(tmp_path / "wide", network=wide))


@pytest.mark.parametrize(
    "changes",
    [
        {"size": 10**9},
        {"size": 48},  # no multiple of the input's
        {"pixel_mm": 0},
        {"pixel_mm": float("nan")},
        {"pixel_mm": None},
        {"kind": "thoughts"},
        {"classes": ["left", "right", "\x1b]0;title"]},
        {"classes": ["left", "right", "right"]},
        {"calibration": {"temperature": 0, "threshold": 0.9, "level": 0.95}},
        {"calibration": {"temperature": 1.0, "threshold": float("nan"), "level": 0.95}},
        {"calibration": []},
        {"network": {"name": "../../etc/passwd"}},
        {"total_counts": 5},
        {"views": "every"},
        {"members": []},
        {"members": "all"},
        {"members": [{"fold": "../../x", "seed": 0, "weights_sha256": ""}]},
        {"members": [{"fold": -1, "seed": 0, "weights_sha256": ""}]},
        {"members": [{"fold": True, "seed": 0, "weights_sha256": ""}]},
        {"members": [{"fold": 0, "seed": 10**4000, "weights_sha256": ""}]},
        {"gate": {"threshold": 0, "relative": 1}},
        {"gate": {"threshold": 1, "relative": 0}},
        {"gate": {"threshold": float("inf"), "relative": 1}},
        {"gate": {"threshold": 1, "relative": float("nan")}},
        {"gate": "open"},
        {"format_version": 1},  # whose weights are elsewhere
    ],
)
def test_a_card_that_says_what_no_export_writes(changes: dict[str, Any], tmp_path: Path) -> None:
    with pytest.raises(InputError, match="is damaged, or was changed after it was exported"):
        read_model(write_model(tmp_path / "model", **changes))


@pytest.mark.parametrize("content", [b"0" * 16 + b"\n-\n", b"\xff" * 17, b"0" * 17 * 500_001])
def test_hashes_of_training_images_that_no_export_writes(content: bytes, tmp_path: Path) -> None:
    """A file of gigabytes is not read."""
    model = write_model(tmp_path / "model")
    (model / "training_images.txt").write_bytes(content)
    with pytest.raises(InputError, match="is damaged, or was changed after it was exported"):
        read_model(model)
