"""What a classifier computes in is what was measured to be fastest, once."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest
import torch

from thyroid import machine, speed
from thyroid.cli import main
from thyroid.configuration import to_json
from thyroid.errors import InputError
from thyroid.pipeline import computed_in
from thyroid.recipe import ExecutionConfig, NetworkConfig, Recipe, override
from thyroid.run_files.config_json import began_with
from thyroid.runs.experiment import Experiment
from thyroid.speed import Way, fastest
from thyroid.storage.cache import cache_folder

BF16 = Way("bf16", "channels_last")
FP32 = Way("fp32", "channels_last")
SLOW_BF16 = Way("bf16", "contiguous")


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("THYROID_CACHE", str(tmp_path))
    return tmp_path


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[tuple[NetworkConfig, list[Way]]]:
    """What is measured; bf16 is as fast as fp32 twice over, but for EfficientNet."""
    seen: list[tuple[NetworkConfig, list[Way]]] = []

    def measure(
        network: NetworkConfig, size: int, execution: ExecutionConfig, ways: list[Way]
    ) -> dict[Way, float]:
        seen.append((network, ways))
        depthwise = network.name == "efficientnet_small"
        speeds = {BF16: 200.0, SLOW_BF16: 30.0, FP32: 800.0 if depthwise else 100.0}
        return {way: speed for way, speed in speeds.items() if way in ways}

    monkeypatch.setattr(speed, "measure", measure)
    return seen


@pytest.fixture(autouse=True)
def bf16(monkeypatch: pytest.MonkeyPatch) -> None:
    """A processor that says it has bf16."""
    monkeypatch.setattr(machine, "_cpu_has_bf16", lambda: True)


def recipe_of(**changes: str | int) -> Recipe:
    """A recipe whose execution is resolved."""
    named = {name.replace("__", "."): value for name, value in changes.items()}
    recipe = override(Recipe(), {"execution.device": "cpu"} | named)
    return dataclasses.replace(recipe, execution=machine.resolve(recipe.execution))


def chosen(run: Path | None = None, **changes: str | int) -> Way:
    before = None if run is None else began_with(run)
    network = fastest(recipe_of(**changes), before).network
    assert network.precision != "auto"
    assert network.layout != "auto"
    return Way(network.precision, network.layout)


def test_each_network_computes_in_what_is_fastest_for_it(asked: list[object]) -> None:
    assert chosen() == BF16
    assert chosen(network__name="efficientnet_small") == FP32


def test_what_the_user_names_holds(asked: list[tuple[NetworkConfig, list[Way]]]) -> None:
    assert chosen(execution__precision="fp32") == FP32
    assert chosen(network__precision="fp32") == FP32
    assert chosen(network__name="efficientnet_small", network__precision="bf16") == BF16
    assert chosen(network__layout="contiguous") == SLOW_BF16
    before = len(asked)
    given: dict[str, str | int] = {"network__precision": "fp32", "network__layout": "contiguous"}
    assert chosen(**given) == Way("fp32", "contiguous")
    assert len(asked) == before  # there was nothing to choose


@pytest.mark.parametrize(("gain", "way"), [(1.1, BF16), (1.2, FP32)])
def test_the_usual_way_stays_unless_another_is_clearly_faster(
    gain: float, way: Way, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(speed, "measure", lambda *_: {BF16: 100.0, FP32: 100.0 * gain})
    assert chosen() == way


def test_without_bf16_float32_is_usual_and_stays_where_there_is_no_time_for_more(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(machine, "_cpu_has_bf16", lambda: False)
    monkeypatch.setattr(speed, "PATIENCE_S", 0.0)
    tried: list[Way] = []

    def seconds(network: object, x: object, execution: object, way: Way) -> float:
        tried.append(way)
        return 1.0

    monkeypatch.setattr(speed, "_seconds", seconds)
    assert chosen() == FP32
    assert set(tried) == {FP32}


def test_a_run_goes_on_as_it_began(asked: list[object], tmp_path: Path) -> None:
    begun = dataclasses.replace(recipe_of().network, precision="fp32", layout="contiguous")
    recipe = to_json(dataclasses.replace(recipe_of(), network=begun))
    for config in (
        {"search": None, "comparison": None, "recipe": recipe},
        {"search": {"base": recipe}, "recipe": to_json(Recipe())},
        {"search": None, "comparison": {"base": recipe}, "recipe": to_json(Recipe())},
    ):
        (tmp_path / "config.json").write_text(json.dumps(config | {"dataset": {"classes": []}}))
        assert chosen(tmp_path) == Way("fp32", "contiguous")
        assert chosen(tmp_path, network__precision="bf16") == Way("bf16", "contiguous")
        assert chosen(tmp_path, network__name="lenet5") == BF16
    (tmp_path / "config.json").unlink()
    assert chosen(tmp_path) == BF16


def test_it_is_measured_once(
    asked: list[tuple[NetworkConfig, list[Way]]], cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert chosen(network__cross_feature="input") == chosen(network__cross_feature="none")
    assert len(asked) == 1
    chosen(network__name="lenet5")
    assert len(asked) == 2
    kept = json.loads((cache_folder("speed") / speed.FILE).read_text())
    assert len(kept) == 2
    # Another processor has other speeds
    monkeypatch.setattr(machine, "cpu_name", lambda: "another")
    chosen()
    assert len(asked) == 3


@pytest.mark.parametrize("content", ["{", "[]", "\x00", "null"])
def test_a_damaged_cache_is_written_anew(asked: list[object], content: str) -> None:
    path = cache_folder("speed") / speed.FILE
    path.write_text(content)
    assert chosen() == chosen() == BF16
    assert len(asked) == 1


@pytest.mark.parametrize("entry", [{}, [], 3, {"bf16 channels_last": "fast"}, {"fp32": 1.0}])
def test_a_damaged_entry_is_measured_anew(asked: list[object], entry: object) -> None:
    chosen()
    path = cache_folder("speed") / speed.FILE
    (name,) = json.loads(path.read_text())
    path.write_text(json.dumps({name: entry}))
    assert chosen() == chosen() == BF16
    assert len(asked) == 2


def test_a_cache_that_cannot_be_written_costs_time_only(
    asked: list[object], cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (cache / "file").touch()
    monkeypatch.setenv("THYROID_CACHE", str(cache / "file"))
    assert chosen() == BF16


def test_on_a_gpu_nothing_is_measured(asked: list[object]) -> None:
    recipe = override(recipe_of(), {"execution.device": "cuda"})
    assert fastest(recipe).network.precision == "bf16"
    assert not asked


def test_a_real_measurement(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(speed, "PATIENCE_S", 600.0)  # however busy the machine
    ways = [BF16, FP32, SLOW_BF16]
    execution = ExecutionConfig(device="cpu", precision="fp32", threads=2)
    threads = torch.get_num_threads()
    state = torch.get_rng_state()
    found = speed.measure(NetworkConfig(name="lenet5"), 32, execution, ways)
    assert set(found) == set(ways)
    assert all(images_per_second > 0 for images_per_second in found.values())
    assert torch.get_num_threads() == threads
    assert torch.equal(torch.get_rng_state(), state)


def test_every_command_and_every_row_of_a_comparison_is_measured(
    asked: list[tuple[NetworkConfig, list[Way]]],
    toy: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """`preflight` is told every recipe, and refuses the last."""
    seen: dict[str, str] = {}

    def preflight(experiment: Experiment) -> None:
        recipe = experiment.recipe
        seen[recipe.network.name] = recipe.network.precision
        if recipe.network.name in ("lenet5", "efficientnet_small"):
            raise InputError("enough")

    monkeypatch.setattr("thyroid.runs.preflight.preflight", preflight)
    place = [str(toy), str(tmp_path / "run"), "--input.size", "32", "--execution.device", "cpu"]
    assert main(["train", *place, "--network.name", "lenet5"]) == 2
    assert main(["search", *place, "--space", "joint", "--network.name", "lenet5"]) == 2
    assert main(["compare", *place, "--models", "vgg_small,efficientnet_small"]) == 2
    assert seen == {
        "lenet5": "bf16",
        "resnet_small": "bf16",
        "vgg_small": "bf16",
        "efficientnet_small": "fp32",
    }
    assert {network.name for network, _ in asked} == set(seen)


def test_too_small_pictures_are_refused_in_a_sentence() -> None:
    with pytest.raises(InputError, match="too small for alexnet_small"):
        fastest(recipe_of(network__name="alexnet_small", input__size=16))


def test_the_classifier_alone_computes_in_it() -> None:
    recipe = override(recipe_of(), {"network.precision": "fp32", "network.layout": "contiguous"})
    network, execution = computed_in(recipe)
    assert (execution.precision, execution.layout) == ("fp32", "contiguous")
    assert network == recipe_of().network  # so what it is called says nothing of it
    assert recipe.execution.precision == "bf16"  # the generators' and the judge's
