from pathlib import Path
from typing import Any

import pytest
import torch

from thyroid import machine
from thyroid.machine import Processor
from thyroid.recipe import ExecutionConfig


def test_resolving_leaves_no_auto_and_changes_nothing_else() -> None:
    resolved = machine.resolve(ExecutionConfig(threads=3, workers=2))
    assert "auto" not in (resolved.device, resolved.precision)
    assert (resolved.threads, resolved.workers) == (3, 2)
    assert machine.resolve(resolved) == resolved


@pytest.mark.parametrize(
    ("flags", "device", "precision"),
    [
        ("fpu avx512_bf16 sse", "cpu", "bf16"),
        ("fpu amx_bf16", "cpu", "bf16"),
        ("fpu avx2", "cpu", "fp32"),
        ("fpu avx2", "cuda", "bf16"),
    ],
)
def test_bf16_where_there_are_instructions_for_it(
    monkeypatch: pytest.MonkeyPatch, flags: str, device: str, precision: str
) -> None:
    monkeypatch.setattr(machine, "_cpuinfo", lambda field: flags)
    asked = ExecutionConfig(device=device)  # type: ignore[arg-type]  # a parametrised literal
    assert machine.resolve(asked).precision == precision


@pytest.mark.parametrize(
    ("abilities", "asked", "device", "precision"),
    [
        ({"gpus": 0, "cpu_bf16": True}, "auto", "cpu", "bf16"),
        ({"gpus": 2, "cpu_bf16": True}, "auto", "cuda", "bf16"),
        ({"gpus": 2, "gpu_bf16": False, "cpu_bf16": True}, "auto", "cuda", "fp32"),
        ({"gpus": 2, "gpu_bf16": False, "cpu_bf16": True}, "cpu", "cpu", "bf16"),
    ],
)
def test_the_machine_that_computes_decides(
    abilities: dict[str, Any], asked: str, device: str, precision: str
) -> None:
    there = Processor(**{"gpu_bf16": True, "cpu_amx_bf16": False} | abilities)
    resolved = machine.resolve(ExecutionConfig(device=asked), there)
    assert (resolved.device, resolved.precision) == (device, precision)


def test_a_gpu_is_there_where_torch_can_use_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: False)
    for available, gpus in ((False, 0), (True, 2)):
        monkeypatch.setattr(torch.cuda, "is_available", lambda answer=available: answer)
        assert machine.here().gpus == gpus
        assert machine.here().gpu_bf16 is (gpus == 0)
        assert machine.resources()[0]["GPU"] == gpus


def test_what_was_asked_for_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "_cpuinfo", lambda field: "avx512_bf16")
    assert machine.resolve(ExecutionConfig(precision="fp32")).precision == "fp32"


def test_the_description_names_what_decides_numbers_and_nobody() -> None:
    told = machine.describe()
    assert {"cpu", "cores", "python", "torch", "ray"} <= set(told)
    assert not {"host", "user", "node"} & set(told)


@pytest.mark.parametrize(
    ("cpus", "gpus", "execution", "share", "stages"),
    [
        (8, 0, ExecutionConfig(device="cpu"), 0.0, 8),
        (8, 0, ExecutionConfig(device="cpu", threads=3), 0.0, 2),
        (1, 0, ExecutionConfig(device="cpu", threads=2), 0.0, 0),
        (8, 1, ExecutionConfig(device="cuda"), 0.0, 1),
        (8, 2, ExecutionConfig(device="cuda"), 0.25, 8),
    ],
)
def test_how_many_stages_fit_side_by_side(
    cpus: int,
    gpus: int,
    execution: ExecutionConfig,
    share: float,
    stages: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    there = {"CPU": float(cpus), "GPU": float(gpus)}
    monkeypatch.setattr(machine, "resources", lambda: [there])
    assert machine.at_once(execution, share) == stages


def test_a_container_has_the_memory_that_it_is_given(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(machine, "_CGROUP_LIMITS", (tmp_path / "max", tmp_path / "none"))
    whole = machine.memory()
    assert whole > 2**28
    (tmp_path / "max").write_text("max\n")
    assert machine.memory() == whole
    (tmp_path / "max").write_text("123456789\n")
    assert machine.memory() == 123456789
