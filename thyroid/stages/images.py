"""Some images of a data set, batch by batch on the device; and back, from an activity to what is
stored.

Where they fit they lie on the device. Where they do not, each batch is read from the data set's
memory map, so that a process needs no more memory for more images; the bits are the same.
"""

from __future__ import annotations

import mmap
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch import Generator, Tensor

from thyroid.acquisition import acquire
from thyroid.data.dataset import Dataset
from thyroid.network_input import sum_pixels
from thyroid.recipe import InputConfig
from thyroid.stages.compute import Compute, seed_of

CHUNK = 1024
"""Images that are looked at together where all are gone through."""


class Images(Protocol):
    """N pictures of S x S pixels."""

    def __len__(self) -> int: ...

    def __getitem__(self, chosen: Tensor | slice) -> Tensor:
        """Counts (n, S, S) float32 on the device; `chosen` (n,) int64 on the CPU."""

    def expect(self, chosen: Tensor) -> None:
        """Say which will be asked for next, (n,) int64, so that the disk can begin."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Held:
    """On the device."""

    counts: Tensor
    """(N, S, S) float32"""

    def __len__(self) -> int:
        return len(self.counts)

    def __getitem__(self, chosen: Tensor | slice) -> Tensor:
        """Counts (n, S, S) float32."""
        return self.counts[chosen]

    def expect(self, chosen: Tensor) -> None:
        """They are here."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Mapped:
    """On disk, read as they are asked for."""

    stored: npt.NDArray[np.uint16]
    """(M, H, W), a memory map"""
    rows: npt.NDArray[np.int64]
    """(N,) of these images in it"""
    size: int
    device: torch.device

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, chosen: Tensor | slice) -> Tensor:
        """Counts (n, S, S) float32."""
        counts = _read(self.stored, self.rows[_numpy(chosen)], self.size)
        if self.device.type == "cpu":
            return counts
        # From locked memory the copy goes on while this thread prepares the next batch
        return counts.pin_memory().to(self.device, non_blocking=True)

    def expect(self, chosen: Tensor) -> None:
        """Have the system read them into its cache, beside what is computed meanwhile."""
        map_ = getattr(self.stored, "_mmap", None)
        if not isinstance(map_, mmap.mmap):  # an array in memory
            return
        start, each = len(map_) - self.stored.nbytes, self.stored[0].nbytes
        for row in self.rows[_numpy(chosen)].tolist():
            first = (start + row * each) // mmap.PAGESIZE * mmap.PAGESIZE
            map_.madvise(mmap.MADV_WILLNEED, first, start + (row + 1) * each - first)


@dataclass(frozen=True, kw_only=True, eq=False)
class Joined:
    """Several, one after the other."""

    parts: Sequence[Images]

    def __len__(self) -> int:
        return sum(map(len, self.parts))

    def __getitem__(self, chosen: Tensor | slice) -> Tensor:
        """Counts (n, S, S) float32."""
        places = torch.arange(len(self))[chosen] if isinstance(chosen, slice) else chosen
        found = [(here, part[places[here] - first]) for part, here, first in self._where(places)]
        out = torch.empty(len(places), *found[0][1].shape[1:], device=found[0][1].device)
        for here, counts in found:
            out[here.to(out.device)] = counts
        return out

    def expect(self, chosen: Tensor) -> None:
        """Pass it on to each."""
        for part, here, first in self._where(chosen):
            part.expect(chosen[here] - first)

    def _where(self, places: Tensor) -> Iterator[tuple[Images, Tensor, int]]:
        """Of each part that is meant: where in `places` (n,), and the number of its first image."""
        first = 0
        for part in self.parts:
            here = ((places >= first) & (places < first + len(part))).nonzero().squeeze(1)
            if len(here):
                yield part, here, first
            first += len(part)


def images(
    dataset: Dataset, rows: npt.NDArray[np.int64], config: InputConfig, on: Compute
) -> Images:
    """Counts of some images of a data set, with their pixels summed to the input's size."""
    mapped = Mapped(stored=dataset.counts, rows=rows, size=config.size, device=on.device)
    if not on.holds(len(rows) * config.size**2 * torch.float32.itemsize):
        return mapped
    counts = torch.empty(len(rows), config.size, config.size, device=on.device)
    for some in chunks(len(rows)):
        counts[some] = mapped[some]
    return Held(counts=counts)


def joined(parts: Sequence[Images], on: Compute) -> Images:
    """One after the other; in one piece where it fits."""
    if len(parts) == 1:
        return parts[0]
    held = [part.counts for part in parts if isinstance(part, Held)]
    if len(held) == len(parts) and on.holds(sum(counts.nbytes for counts in held)):
        return Held(counts=torch.cat(held))
    return Joined(parts=parts)


def some_of(rows: npt.NDArray[np.int64], most: int, *seed: int | str) -> npt.NDArray[np.int64]:
    """All rows, or where they are more than `most` so many of them, in their order."""
    if len(rows) <= most:
        return rows
    rng = np.random.default_rng(seed_of(*seed, "some of many"))
    return np.sort(rng.choice(rows, most, replace=False))


def chunks(n: int, size: int = CHUNK) -> Iterator[slice]:
    """0 to n in pieces."""
    return (slice(first, min(first + size, n)) for first in range(0, n, size))


def detected(activity: Tensor, totals: Tensor, kind: str, generator: Generator) -> Tensor:
    """An activity as a data set of this kind would show it: counts, or a picture without noise.

    (N, S, S) float32 of mean 1, totals (N,) -> (N, S, S) float32, differentiable.
    """
    if kind == "counts":
        return acquire(activity, totals, generator)
    return activity * (totals / activity[0].numel()).view(-1, 1, 1)


def _read(stored: npt.NDArray[np.uint16], rows: npt.NDArray[np.int64], size: int) -> Tensor:
    return sum_pixels(torch.from_numpy(stored[rows].astype(np.float32)), size)


def _numpy(chosen: Tensor | slice) -> npt.NDArray[np.int64] | slice:
    return chosen if isinstance(chosen, slice) else chosen.numpy()
