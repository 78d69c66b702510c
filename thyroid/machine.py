"""Resources and abilities of this machine, and its description in reports."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import platform
from importlib.metadata import version
from pathlib import Path

from thyroid.recipe import ExecutionConfig

_CGROUP_LIMITS = (
    "/sys/fs/cgroup/memory.max",
    "/sys/fs/cgroup/memory/memory.limit_in_bytes",
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Processor:
    """A machine's abilities, which decide the device and precision of a stage there."""

    gpus: int
    """GPUs that torch can use."""
    gpu_bf16: bool
    """False if its GPUs only emulate bf16 (compute capability below 8.0)."""
    cpu_bf16: bool
    """True if the CPU has instructions for bf16."""
    cpu_amx_bf16: bool
    """True if the CPU multiplies matrices, not only vectors, of bf16."""


def here() -> Processor:
    """Return the abilities of this machine."""
    import torch

    gpus = torch.cuda.device_count() if torch.cuda.is_available() else 0
    return Processor(
        gpus=gpus,
        gpu_bf16=gpus == 0 or torch.cuda.is_bf16_supported(including_emulation=False),
        cpu_bf16=_cpu_has("avx512_bf16", "amx_bf16", "bf16"),
        cpu_amx_bf16=_cpu_has("amx_bf16"),
    )


def resolve(execution: ExecutionConfig, there: Processor | None = None) -> ExecutionConfig:
    """Replace `auto` by a device and precision, so that keys record what was used.

    Parameters
    ----------
    there : the machine that computes; default: this one
    """
    there = there or here()
    device = execution.device
    if device == "auto":
        device = "cuda" if there.gpus else "cpu"
    precision = execution.precision
    if precision == "auto":
        # Without bf16 instructions, emulation costs more than it saves
        has_bf16 = there.gpu_bf16 if device == "cuda" else there.cpu_bf16
        precision = "bf16" if has_bf16 else "fp32"
    return dataclasses.replace(execution, device=device, precision=precision)


def unused_gpus(gpus: float) -> str:
    """Return the sentence that tells the user that a recipe leaves GPUs unused."""
    return (
        f"The recipe trains on processors, and there are {gpus:g} GPUs: give --gpus-per-worker 1 "
        "and --execution.device cuda to train on them."
    )


def cores() -> int:
    """Count the CPU cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def memory() -> int:
    """Return the memory of this machine, or of its container, in bytes."""
    there = [os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")]
    for limit in _CGROUP_LIMITS:
        with contextlib.suppress(OSError, ValueError):  # no such file, or `max`
            there.append(int(Path(limit).read_text()))
    return min(there)


def free_memory() -> int:
    """Return the memory that programs can still get, in bytes, if the system reports it."""
    free = [memory()]
    with contextlib.suppress(OSError, ValueError, StopIteration):
        lines = Path("/proc/meminfo").read_text().splitlines()
        free.append(next(int(line.split()[1]) for line in lines if "MemAvailable" in line) * 1024)
    with contextlib.suppress(OSError, ValueError):  # a container counts its file caches as used
        used = int(Path("/sys/fs/cgroup/memory.current").read_text())
        free.append(int(Path(_CGROUP_LIMITS[0]).read_text()) - used)
    return min(free)


def resources() -> list[dict[str, float]]:
    """Return the CPU cores and GPUs of this machine, in the form of Ray's nodes."""
    return [{"CPU": float(cores()), "GPU": float(here().gpus)}]


def at_once(execution: ExecutionConfig, gpus_per_worker: float) -> int:
    """Count the one-worker stages that this machine can compute in parallel."""
    there = resources()[0]
    if execution.device == "cuda":
        return int(there["GPU"] / (gpus_per_worker or 1.0))
    return int(there["CPU"]) // execution.threads


def describe() -> dict[str, str | int]:
    """Describe the CPU, its cores, and versions of libraries that affect numbers."""
    return {
        "cpu": cpu_name(),
        "cores": cores(),
        "platform": platform.system(),
        "python": platform.python_version(),
        **{name: version(name) for name in ("torch", "numpy", "ray", "optuna")},
    }


def _cpuinfo(field: str) -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return ""
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith(field)), "")


def _cpu_has(*features: str) -> bool:
    return not set(features).isdisjoint(_cpuinfo("flags").split())


def cpu_name() -> str:
    """Return the CPU's name."""
    return _cpuinfo("model name") or platform.processor() or platform.machine()
