"""The file that `--weights` names: shipped with thyroid, from a model, the user's own, timm's, or
from the Hugging Face hub.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from pathlib import Path

from thyroid.configuration import from_json
from thyroid.data.dataset import Dataset
from thyroid.errors import InputError, PackageMissing
from thyroid.model.model_folder import CARD, WEIGHTS_OF_FORMAT_1, member_files, read_model
from thyroid.model.starting_point import about, require_input, shipped
from thyroid.networks.timm_network import PREFIX, weights_of
from thyroid.progress import say
from thyroid.recipe import NetworkConfig, Recipe
from thyroid.run_files.network import Network

PHANTOM, HUB = "phantom", "hf-hub:"
FILES = ("model.safetensors", "pytorch_model.bin")
"""Names of a model's file on the hub, in the order in which they are tried."""


def weights_file(asked: Path | str, recipe: Recipe, datasets: Sequence[Dataset]) -> Path:
    """Return the file that phantom, a path, timm:NAME or hf-hub:ORG/NAME[@REVISION] means.

    `phantom` is the file that ships with thyroid for the recipe's network and the data's kind; the
    path of a model means the first of its networks. A file in the hub's cache on this machine is
    used from there; any other file that the user names is downloaded into it, with a message.

    Raises
    ------
    InputError
        When there is no such file, or neither the cache nor the hub provides it.
    """
    name = str(asked)
    if name.startswith(PREFIX):
        return _of_hub(name, *weights_of(name.removeprefix(PREFIX)))
    if name.startswith(HUB):
        return _of_hub(name, name.removeprefix(HUB), FILES)
    kind = datasets[0].info.kind
    if name == PHANTOM:
        return shipped(recipe, kind)
    path = Path(name).absolute()
    if (path / CARD).is_file():
        return _of_model(path, recipe, datasets)
    if not path.is_file():
        raise InputError(
            f"--weights {asked} is not a file. Give {PHANTOM}, the folder of a model, a file, "
            f"{PREFIX}NAME or {HUB}ORG/NAME."
        )
    if path.suffix == ".safetensors":
        told = about(path)
        if "input" in told:
            require_input(recipe, told["input"]["normalisation"], path)
        if told.get("kind", kind) != kind:
            raise InputError(_of_other_kind(path, told["kind"]))
    return path


def _of_other_kind(source: Path, kind: str) -> str:
    images = {"counts": "photon counts", "display": "pictures"}
    others = {"counts": "pictures", "display": "photon counts"}
    return (
        f"--weights {source} was trained on {images[kind]}, but the data are {others[kind]}: "
        "choose other weights."
    )


def _of_model(folder: Path, recipe: Recipe, datasets: Sequence[Dataset]) -> Path:
    """Return the weights of a model's first network.

    Raises
    ------
    InputError
        When the model is damaged, was trained on these images or on another kind of images, or has
        another network than the recipe.
    """
    model = read_model(folder, gate=False)
    for dataset in datasets:
        if model.card.get("data", {}).get("digest") == dataset.digest:
            raise InputError(
                f"--weights {folder} was trained on images of {dataset.folder}, which this run "
                "would validate or test on: start from a model of other images."
            )
    if model.kind != datasets[0].info.kind:
        raise InputError(_of_other_kind(folder, model.kind))
    theirs, ours = from_json(NetworkConfig, model.card["network"]), recipe.network
    require_input(recipe, model.input.normalisation, folder)
    if (theirs.name, theirs.width) != (ours.name, ours.width):
        raise InputError(
            f"--weights {folder} is a model of {_described(theirs)}, but the recipe's network is "
            f"{_described(ours)}: give --network.name "
            f"{theirs.name}{'' if theirs.width is None else f' --network.width {theirs.width}'}, "
            "or other weights."
        )
    first = model.card["members"][0]
    if model.card["format_version"] == 1:
        return folder / WEIGHTS_OF_FORMAT_1
    return folder / member_files(Network(first["seed"], first["fold"]))[0]


def _described(network: NetworkConfig) -> str:
    return network.name + ("" if network.width is None else f" of width {network.width}")


def _of_hub(asked: str, place: str, files: tuple[str, ...]) -> Path:
    """Return the first of some files of ORG/NAME[@REVISION], from the cache or else the hub."""
    if importlib.util.find_spec("huggingface_hub") is None:
        raise PackageMissing(
            f"--weights {asked} needs timm: install it with `pip install 'thyroid[timm]'`."
        )
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import EntryNotFoundError, HfHubHTTPError, LocalEntryNotFoundError

    repository, _, revision = place.partition("@")
    for file in files:
        try:
            return Path(
                hf_hub_download(repository, file, revision=revision or None, local_files_only=True)
            )
        except LocalEntryNotFoundError:
            continue
        except ValueError:
            raise InputError(f"--weights {asked} must be {HUB}ORG/NAME.") from None
    say(f"Downloading the weights {asked} from the Hugging Face hub, because --weights names them.")
    for file in files:
        try:
            return Path(hf_hub_download(repository, file, revision=revision or None))
        except LocalEntryNotFoundError:  # no connection; it is a subclass of EntryNotFoundError
            break
        except EntryNotFoundError:
            continue
        except (HfHubHTTPError, OSError):
            break
    raise InputError(
        f"--weights {asked} is not in the cache of this machine and cannot be downloaded: fetch "
        f"{' or '.join(files)} of {repository} on a machine with a connection, and give "
        "--weights FILE."
    )
