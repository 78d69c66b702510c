"""What this machine offers, and how it is named in reports. Imports no torch unless it must."""

from __future__ import annotations

import dataclasses
import os
import platform
from importlib.metadata import version
from pathlib import Path

from thyroid.recipe import ExecutionConfig


def resolve(execution: ExecutionConfig) -> ExecutionConfig:
    """Replace `auto` by what this machine has: results and their keys then say what was used."""
    device = execution.device
    if device == "auto":
        device = "cuda" if _has_gpu() else "cpu"
    precision = execution.precision
    if precision == "auto":
        # Without bf16 instructions emulation costs more than it saves.
        precision = "bf16" if device == "cuda" or _cpu_has_bf16() else "fp32"
    return dataclasses.replace(execution, device=device, precision=precision)


def cores() -> int:
    """Processors that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def resources() -> list[dict[str, float]]:
    """Processors and GPUs of this machine, as Ray lists those of its nodes."""
    gpus = 0
    if _has_gpu():
        import torch

        gpus = torch.cuda.device_count()
    return [{"CPU": float(cores()), "GPU": float(gpus)}]


def describe() -> dict[str, str | int]:
    """Processor, cores and the versions that decide numbers."""
    return {
        "cpu": _cpu_name(),
        "cores": cores(),
        "platform": platform.system(),
        "python": platform.python_version(),
        **{name: version(name) for name in ("torch", "numpy", "ray", "optuna")},
    }


def _has_gpu() -> bool:
    if not Path("/dev/nvidiactl").exists():
        return False
    import torch

    return torch.cuda.is_available()


def _cpuinfo(field: str) -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return ""
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith(field)), "")


def _cpu_has_bf16() -> bool:
    return bool({"avx512_bf16", "amx_bf16", "bf16"} & set(_cpuinfo("flags").split()))


def _cpu_name() -> str:
    return _cpuinfo("model name") or platform.processor() or platform.machine()
