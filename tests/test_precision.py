"""A classifier's precision and layout follow the table, the user, or what the run began with."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
import torch

from tests.stub_config import stub_comparison, stub_config, stub_search
from thyroid import machine
from thyroid.cli import main
from thyroid.configuration import to_json
from thyroid.errors import InputError
from thyroid.networks.build import BASELINES, gains_from_bf16
from thyroid.pipeline import computed_in
from thyroid.precision import resolve_precision
from thyroid.recipe import NetworkConfig, Recipe, override
from thyroid.run_files.config_json import began_with, write_config
from thyroid.runs.experiment import Experiment

BF16 = ("bf16", "channels_last")
FP32 = ("fp32", "channels_last")
AMX = "avx2 avx512_bf16 amx_bf16"
DEPTHWISE = "efficientnet_small"


@pytest.fixture(autouse=True)
def flags(monkeypatch: pytest.MonkeyPatch) -> None:
    """A processor with bf16 matrices, unless a test says otherwise."""
    monkeypatch.setattr(machine, "_cpuinfo", lambda field: AMX)


def recipe_of(**changes: str | int) -> Recipe:
    """A recipe whose execution is resolved."""
    named = {name.replace("__", "."): value for name, value in changes.items()}
    recipe = override(Recipe(), {"execution.device": "cpu"} | named)
    return dataclasses.replace(recipe, execution=machine.resolve(recipe.execution))


def chosen(run: Path | None = None, **changes: str | int) -> tuple[str, str]:
    before = None if run is None else began_with(run)
    network = resolve_precision(recipe_of(**changes), before).network
    return network.precision, network.layout


@pytest.mark.parametrize(
    ("features", "way", "depthwise"),
    [(AMX, BF16, FP32), ("avx2 avx512_bf16", FP32, FP32), ("avx2", FP32, FP32)],
)
def test_the_table_by_processor_and_network(
    features: str,
    way: tuple[str, str],
    depthwise: tuple[str, str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(machine, "_cpuinfo", lambda field: features)
    assert chosen() == way
    assert chosen(network__name=DEPTHWISE) == depthwise


def test_networks_that_do_not_gain_from_bf16() -> None:
    state = torch.get_rng_state()
    names = [*BASELINES, "alexnet", "convnext_tiny", "efficientnet_b0"]
    without = {name for name in names if not gains_from_bf16(NetworkConfig(name=name))}
    assert without == {"alexnet", "efficientnet_b0", "efficientnet_small", "convnext_small"}
    assert torch.equal(torch.get_rng_state(), state)


def test_what_the_user_names_holds() -> None:
    assert chosen(execution__precision="fp32") == FP32
    assert chosen(network__precision="fp32") == FP32
    assert chosen(network__name=DEPTHWISE, network__precision="bf16") == BF16
    assert chosen(network__layout="contiguous") == ("bf16", "contiguous")


def test_bf16_that_the_machine_would_not_choose_is_the_users(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(machine, "_cpuinfo", lambda field: "avx2")
    assert chosen(execution__precision="bf16") == BF16


def test_on_a_gpu_every_network_trains_in_bf16() -> None:
    recipe = override(recipe_of(network__name=DEPTHWISE), {"execution.device": "cuda"})
    assert resolve_precision(recipe).network.precision == "bf16"


def test_the_machine_that_computes_decides_and_not_that_of_the_command() -> None:
    without = dataclasses.replace(machine.here(), cpu_amx_bf16=False)
    old_gpu = dataclasses.replace(machine.here(), gpus=1, gpu_bf16=False)
    recipe = override(Recipe(), {"execution.device": "cpu"})
    for there, device in ((without, "cpu"), (old_gpu, "cuda")):
        asked = dataclasses.replace(recipe.execution, device=device)
        resolved = dataclasses.replace(recipe, execution=machine.resolve(asked, there))
        assert resolve_precision(resolved, there=there).network.precision == "fp32"
        alone = dataclasses.replace(resolved, execution=machine.resolve(asked))
        assert resolve_precision(alone).network.precision == "bf16"


def test_a_run_goes_on_as_it_began(tmp_path: Path) -> None:
    begun = dataclasses.replace(recipe_of().network, precision="fp32", layout="contiguous")
    recipe = to_json(dataclasses.replace(recipe_of(), network=begun))
    other = to_json(Recipe())
    for config in (
        stub_config(recipe=recipe),
        stub_config(recipe=other, search=stub_search(base=recipe)),
        stub_config(recipe=other, comparison=stub_comparison(base=recipe)),
    ):
        write_config(tmp_path, config)
        assert chosen(tmp_path) == ("fp32", "contiguous")
        assert chosen(tmp_path, network__precision="bf16") == ("bf16", "contiguous")
        assert chosen(tmp_path, network__name="lenet5") == BF16
    (tmp_path / "config.json").unlink()
    assert chosen(tmp_path) == BF16


def test_every_command_and_every_row_of_a_comparison_follows_the_table(
    toy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`preflight` gets every recipe, and refuses the last one."""
    seen: dict[str, str] = {}

    def preflight(experiment: Experiment, **_: bool) -> None:
        recipe = experiment.recipe
        seen[recipe.network.name] = recipe.network.precision
        if recipe.network.name in ("lenet5", DEPTHWISE):
            raise InputError("enough")

    for workflow in ("training", "searching", "comparing"):
        monkeypatch.setattr(f"thyroid.workflows.{workflow}.preflight", preflight)
    place = [str(toy), str(tmp_path / "run"), "--input.size", "32", "--execution.device", "cpu"]
    assert main(["train", *place, "--network.name", "lenet5"]) == 2
    assert main(["search", *place, "--space", "joint", "--network.name", "lenet5"]) == 2
    assert main(["compare", *place, "--models", f"vgg_small,{DEPTHWISE}"]) == 2
    assert seen == {"lenet5": "bf16", "resnet_small": "bf16", "vgg_small": "bf16"} | {
        DEPTHWISE: "fp32"
    }


def test_the_classifier_alone_computes_in_it() -> None:
    recipe = override(recipe_of(), {"network.precision": "fp32", "network.layout": "contiguous"})
    network, execution = computed_in(recipe)
    assert (execution.precision, execution.layout) == ("fp32", "contiguous")
    assert network == recipe_of().network  # so its name does not tell
    assert recipe.execution.precision == "bf16"  # the generators' and the label filter's
