"""The device, precision, threads and rank that a stage computes with."""

from __future__ import annotations

import contextlib
import hashlib
import os
from dataclasses import dataclass

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from thyroid.errors import InputError
from thyroid.machine import cores, memory
from thyroid.networks.batch_statistics import gather, share_statistics
from thyroid.networks.deterministic import make_deterministic
from thyroid.recipe import ExecutionConfig

HELD = 0.25
"""Share of a worker's memory that images may occupy; the rest is for networks, their activations
and the process itself."""


@dataclass(frozen=True, kw_only=True)
class Compute:
    """One worker's view of the machine."""

    device: torch.device
    precision: torch.dtype
    rank: int
    workers: int
    layout: torch.memory_format = torch.channels_last
    threads: int = 1

    @property
    def leads(self) -> bool:
        """True for the worker that evaluates and writes."""
        return self.rank == 0

    def saves(self, *, last: bool) -> bool:
        """True if this worker saves after an epoch; `last`: it is the last epoch.

        A single worker saves after the last epoch. Of several workers, the first saves after each
        epoch: when a machine is lost, the training continues from there.
        """
        return self.leads and (last or self.workers > 1)

    def autocast(self) -> contextlib.AbstractContextManager[object]:
        """Mixed precision, if the recipe asks for it."""
        enabled = self.precision is not torch.float32
        return torch.autocast(self.device.type, self.precision, enabled=enabled)

    def place(self, network: nn.Module) -> nn.Module:
        """The network on the device, in the layout."""
        if self.device.type == "cuda":
            make_deterministic(network)
        return network.to(self.device).to(memory_format=self.layout)

    def arranged(self, x: Tensor) -> Tensor:
        """A batch (N, C, H, W) in the layout."""
        return x.contiguous(memory_format=self.layout)

    def parallel(self, network: nn.Module, *, compiled: bool = False) -> nn.Module:
        """The network whose gradients are averaged over the workers, compiled or not.

        From now on, its batch normalisation uses the statistics of all workers' images.

        Raises
        ------
        InputError
            When these statistics cannot be shared.
        """
        shared = network
        if self.workers > 1:
            share_statistics(network)
            shared = DistributedDataParallel(network)
        if compiled:
            # CUDA graphs launch all kernels of a pass at once
            shared.compile(mode="reduce-overhead" if self.device.type == "cuda" else "default")
        return shared

    def holds(self, size_bytes: int) -> bool:
        """True if images of this size fit on the device for as long as the stage runs."""
        if self.device.type == "cuda":
            free, _ = torch.cuda.mem_get_info(self.device)
            return size_bytes <= HELD * free
        return size_bytes <= HELD * memory() * min(self.threads / cores(), 1.0)

    def mean(self, value: Tensor) -> Tensor:
        """Average a value over the workers."""
        if self.workers > 1:
            dist.all_reduce(value)
            value /= self.workers
        return value

    def sent(self, tensor: Tensor) -> Tensor:
        """Copy a tensor from the CPU to the device, without waiting for it."""
        return sent(tensor, self.device)

    def gathered(self, own: Tensor) -> Tensor:
        """The whole batch, (batch, ...), of which each worker gives its share, (n, ...).

        Random numbers that depend on images are drawn for the whole batch by every worker, so that
        they do not depend on the number of workers.
        """
        return gather(own) if self.workers > 1 else own

    def generator(self, *place: int | str) -> torch.Generator:
        """A generator on the device, seeded by where in the run it is used."""
        return torch.Generator(self.device).manual_seed(seed_of(*place))


def start(execution: ExecutionConfig) -> Compute:
    """Claim the threads and the device; a process group, if there is one, exists already."""
    torch.set_num_threads(execution.threads)
    _same_bits(on_gpu=execution.device == "cuda")
    workers = dist.get_world_size() if dist.is_initialized() else 1
    if workers != execution.workers:
        raise RuntimeError(
            f"the recipe asks for {execution.workers} workers, but {workers} are running"
        )
    if execution.device == "cuda":
        if not torch.cuda.is_available():
            raise InputError(
                "A GPU was requested (execution.device, --gpus-per-worker), but this machine has "
                "none."
            )
        device = torch.device("cuda", torch.cuda.current_device())
    else:
        device = torch.device("cpu")
    return Compute(
        device=device,
        precision=torch.bfloat16 if execution.precision == "bf16" else torch.float32,
        layout=torch.contiguous_format if execution.layout == "contiguous" else torch.channels_last,
        threads=execution.threads,
        rank=dist.get_rank() if dist.is_initialized() else 0,
        workers=workers,
    )


def _same_bits(*, on_gpu: bool) -> None:
    """Make the same key give the same bits: no kernel is chosen by timing, or adds in random order.

    An operation without a deterministic form on a GPU raises. float32 is float32, not TF32.
    """
    torch.backends.cudnn.benchmark = False
    torch.backends.cudnn.deterministic = True
    torch.backends.cudnn.allow_tf32 = False
    torch.backends.cuda.matmul.allow_tf32 = False
    # Uninitialised memory is never read, so it needs no value. torch does not declare the attribute
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
    if torch.are_deterministic_algorithms_enabled() != on_gpu:  # setting takes 1 s
        torch.use_deterministic_algorithms(on_gpu)
    if on_gpu:  # cuBLAS reads it when it begins
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")


def sent(tensor: Tensor, device: torch.device) -> Tensor:
    """Copy from the CPU to a device; from locked memory, so that this thread need not wait."""
    if tensor.device.type == device.type:
        return tensor
    return tensor.pin_memory().to(device, non_blocking=True)


def seed_of(*place: int | str) -> int:
    """A 63-bit seed from (seed, purpose, epoch, rank, ...): no two places share a stream."""
    digest = hashlib.sha256("/".join(map(str, place)).encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1


def share_of_batch(asked: int, images: int, on: Compute, field: str) -> tuple[int, slice]:
    """Images per step over all workers, and this worker's part of them.

    Raises
    ------
    InputError
        When the batch cannot be divided evenly among the workers.
    """
    batch = min(asked, images - images % on.workers)
    if batch % on.workers or batch < 2 * on.workers:
        raise InputError(
            f"{field} {batch} cannot be divided evenly among {on.workers} workers "
            "with at least two images each: choose a multiple of the number of workers."
        )
    own = batch // on.workers
    return batch, slice(on.rank * own, (on.rank + 1) * own)
