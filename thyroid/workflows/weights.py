"""The file that `--weights` names: of the user's, of timm's, or of the Hugging Face hub."""

from __future__ import annotations

import importlib.util
from pathlib import Path

from thyroid.errors import InputError, PackageMissing
from thyroid.networks.timm_network import PREFIX, weights_of
from thyroid.progress import say

HUB = "hf-hub:"
FILES = ("model.safetensors", "pytorch_model.bin")
"""Files of a model on the hub, the first choice first."""


def weights_file(asked: Path | str) -> Path:
    """Return the file that is meant by a path, timm:NAME or hf-hub:ORG/NAME[@REVISION].

    What the hub's cache on this machine has is taken from there; anything else is downloaded into
    it, as the user asked for it by its name, and said.

    Raises
    ------
    InputError
        When there is no such file, or it can be had neither from the cache nor from the hub.
    """
    name = str(asked)
    if name.startswith(PREFIX):
        return _of_hub(name, *weights_of(name.removeprefix(PREFIX)))
    if name.startswith(HUB):
        return _of_hub(name, name.removeprefix(HUB), FILES)
    path = Path(name).absolute()
    if not path.is_file():
        raise InputError(f"--weights {asked} is no file.")
    return path


def _of_hub(asked: str, place: str, files: tuple[str, ...]) -> Path:
    """Return the first of some files of ORG/NAME[@REVISION], from the cache or else the hub."""
    if importlib.util.find_spec("huggingface_hub") is None:
        raise PackageMissing(
            f"--weights {asked} needs timm: `pip install 'thyroid[timm]'` brings it."
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
    say(f"Downloading the weights {asked} from the Hugging Face hub, as --weights names them.")
    for file in files:
        try:
            return Path(hf_hub_download(repository, file, revision=revision or None))
        except LocalEntryNotFoundError:  # an EntryNotFoundError, too: there is no connection
            break
        except EntryNotFoundError:
            continue
        except (HfHubHTTPError, OSError):
            break
    raise InputError(
        f"--weights {asked} is not in the cache of this machine and cannot be downloaded: fetch "
        f"{' or '.join(files)} of {repository} where there is a network, and give --weights FILE."
    )
