"""timm's classification networks for one grey channel, `timm:NAME`.

timm is an optional package. Its import takes seconds, so it happens only when a network is built.
"""

from __future__ import annotations

import difflib
import importlib.util
import re
from functools import partial
from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn

from thyroid.errors import InputError, PackageMissing
from thyroid.networks.registry import Entry

PREFIX = "timm:"
SMALLEST = 32
"""Least side of an image in pixels; some networks need more, which shows when they are built."""


class TimmNetwork(nn.Module):
    """A network of timm's up to its pooled features, then one linear layer.

    If a network takes images of a single size, as a vision transformer does, images are
    interpolated to that size.

    Parameters
    ----------
    name : as timm knows it, with or without the tag of its weights
    classes : number of logits

    Raises
    ------
    InputError
        When timm is not installed, or has no such network.
    """

    def __init__(self, name: str, classes: int) -> None:
        super().__init__()
        self.name = name
        self.body = _timm(name).create_model(name, pretrained=False, in_chans=1, num_classes=0)
        about = self.body.pretrained_cfg
        self.side: int | None = about["input_size"][-1] if about.get("fixed_input_size") else None
        self.photographs = (sum(about["mean"]) / 3, sum(about["std"]) / 3)
        self.fc = nn.Linear(self.body.head_hidden_size, classes)

    def forward(self, x: Tensor) -> Tensor:
        """(N, 1, H, W) -> logits (N, classes)."""
        if self.side is not None:
            x = F.interpolate(x, (self.side, self.side), mode="bilinear")
        return self.fc(self.body(x))  # type: ignore[no-any-return]  # nn.Module is untyped

    def state_of(
        self, given: dict[str, Tensor], own: dict[str, Tensor]
    ) -> tuple[dict[str, Tensor], bool]:
        """Translate the state in a file of timm's; return it, and True if it is for colour images.

        timm does the translation, as it knows the older names of its layers; the channels of the
        first convolution are summed. Missing parts of the last layer are taken from `own`, the
        network's present state. A state of a `TimmNetwork` is returned as it is.

        Raises
        ------
        RuntimeError, LookupError
            When it is the state of another network.
        """
        if all(name.startswith(("body.", "fc.", "input_")) for name in given):
            return given, False
        about = self.body.pretrained_cfg
        heads, first = (_names(about[part]) for part in ("classifier", "first_conv"))
        head = given.get(f"{heads[0]}.weight")
        classes = about["num_classes"] if head is None else len(head)
        read = _timm(self.name).create_model(
            self.name,
            pretrained=True,
            in_chans=1,
            num_classes=classes,
            pretrained_cfg_overlay={
                "state_dict": given,
                "num_classes": classes,
                "label_offset": 0,
            },
        )
        read.reset_classifier(0)
        state = {f"body.{name}": tensor for name, tensor in read.state_dict().items()}
        for part in ("weight", "bias"):
            state[f"fc.{part}"] = given.get(f"{heads[0]}.{part}", own[f"fc.{part}"])
        same = [
            given[f"{name}.weight"].shape == own[f"body.{name}.weight"].shape
            for name in first
            if f"{name}.weight" in given
        ]
        return state, not all(same) if same else about["input_size"][0] == 3


def weights_of(name: str) -> tuple[str, tuple[str, ...]]:
    """Return where timm's weights of a network are: ORG/NAME on the hub, and possible files there.

    Raises
    ------
    InputError
        When timm has no weights of it on the hub.
    """
    about = _timm(name).get_pretrained_cfg(name)
    if not about.hf_hub_id or about.custom_load:
        raise InputError(f"timm has no weights of {name} on the Hugging Face hub: give a file.")
    named = about.hf_hub_filename
    return about.hf_hub_id, (named,) if named else ("model.safetensors", "pytorch_model.bin")


def timm_entry(network: str) -> Entry:
    """The registry's entry of `timm:NAME`.

    Raises
    ------
    InputError
        When timm is not installed, or has no such network.
    """
    name = network.removeprefix(PREFIX)
    _timm(name)
    return Entry(
        title=f"{name} of timm",
        constructor=partial(_constructed, name),
        smallest=SMALLEST,
        small=False,
        published=True,
        bf16=None,
    )


def _constructed(name: str, classes: int) -> TimmNetwork:
    return TimmNetwork(name, classes)


def _timm(name: str) -> Any:
    """Import timm and check that it has this network.

    Raises
    ------
    PackageMissing
        When timm is not installed.
    InputError
        When timm has no such network.
    """
    if importlib.util.find_spec("timm") is None:
        raise PackageMissing(f"{PREFIX}{name} needs timm: `pip install 'thyroid[timm]'` brings it.")
    import timm

    network, _, tag = name.partition(".")
    if not re.fullmatch(r"\w+", network) or not timm.is_model(network):
        # also `hf-hub:...`, which timm would fetch
        near = difflib.get_close_matches(network, timm.list_models(), n=3)
        known = f"did you mean {' or '.join(near)}?" if near else "timm.list_models() names them."
        raise InputError(f"timm has no network '{name}': {known}")
    tagged = timm.list_models(f"{network}.*", pretrained=True)
    if tag and name not in tagged:
        raise InputError(f"timm knows no weights '{name}': choose among {', '.join(tagged)}.")
    return timm


def _names(given: Any) -> tuple[str, ...]:
    """One name or several, in either form that timm uses."""
    return (given,) if isinstance(given, str) else tuple(given or ())
