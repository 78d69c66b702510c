"""Images of a data set, batch by batch on the device; and counts from an activity.

Images that fit are held on the device. Otherwise each batch is read from the data set's memory
map, so that memory does not grow with the number of images; the bits are the same.
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
from thyroid.stages.compute import Compute, seed_of, sent

CHUNK = 1024
"""Images per piece when a loop goes through all of them."""


class Images(Protocol):
    """N pictures of S x S pixels."""

    def __len__(self) -> int: ...

    def __getitem__(self, chosen: Tensor | slice) -> Tensor:
        """Counts (n, S, S) float32 on the device; `chosen` (n,) int64 on the CPU."""

    def expect(self, chosen: Tensor) -> None:
        """Announce the next images, (n,) int64, so that reading from disk can begin."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Held:
    """Images held on the device."""

    counts: Tensor
    """(N, S, S) float32"""

    def __len__(self) -> int:
        return len(self.counts)

    def __getitem__(self, chosen: Tensor | slice) -> Tensor:
        """Counts (n, S, S) float32."""
        if isinstance(chosen, Tensor):
            chosen = sent(chosen, self.counts.device)
        return self.counts[chosen]

    def expect(self, chosen: Tensor) -> None:
        """Do nothing: the images are on the device."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Mapped:
    """Images on disk, read when they are needed."""

    stored: npt.NDArray[np.uint16]
    """(M, H, W), a memory map"""
    rows: npt.NDArray[np.int64]
    """(N,) rows of these images in `stored`"""
    size: int
    device: torch.device

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, chosen: Tensor | slice) -> Tensor:
        """Counts (n, S, S) float32."""
        counts = _read(self.stored, self.rows[_numpy(chosen)], self.size)
        return sent(counts, self.device)

    def expect(self, chosen: Tensor) -> None:
        """Let the system read them into its cache while the caller computes."""
        map_ = getattr(self.stored, "_mmap", None)
        if not isinstance(map_, mmap.mmap):  # an array in memory
            return
        start, each = len(map_) - self.stored.nbytes, self.stored[0].nbytes
        for row in self.rows[_numpy(chosen)].tolist():
            first = (start + row * each) // mmap.PAGESIZE * mmap.PAGESIZE
            map_.madvise(mmap.MADV_WILLNEED, first, start + (row + 1) * each - first)


@dataclass(frozen=True, kw_only=True, eq=False)
class Joined:
    """Several sets of images, one after the other."""

    parts: Sequence[Images]

    def __len__(self) -> int:
        return sum(map(len, self.parts))

    def __getitem__(self, chosen: Tensor | slice) -> Tensor:
        """Counts (n, S, S) float32."""
        places = torch.arange(len(self))[chosen] if isinstance(chosen, slice) else chosen
        found = [(here, part[places[here] - first]) for part, here, first in self._where(places)]
        out = torch.empty(len(places), *found[0][1].shape[1:], device=found[0][1].device)
        for here, counts in found:
            out[sent(here, out.device)] = counts
        return out

    def expect(self, chosen: Tensor) -> None:
        """Announce the next images to each set."""
        for part, here, first in self._where(chosen):
            part.expect(chosen[here] - first)

    def _where(self, places: Tensor) -> Iterator[tuple[Images, Tensor, int]]:
        """Yield each set with images of `places`, their positions in `places`, and its offset."""
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
    """Concatenate sets of images; in one tensor where it fits on the device."""
    if len(parts) == 1:
        return parts[0]
    held = [part.counts for part in parts if isinstance(part, Held)]
    if len(held) == len(parts) and on.holds(sum(counts.nbytes for counts in held)):
        return Held(counts=torch.cat(held))
    return Joined(parts=parts)


def batches(images: Images, order: Tensor) -> Iterator[Tensor]:
    """Counts (n, S, S) float32 of each step of an epoch, on the device.

    Parameters
    ----------
    order : (steps, n) int64 on the CPU
    """
    if isinstance(images, Held):
        yield from (images.counts[chosen] for chosen in sent(order, images.counts.device))
        return
    for step, chosen in enumerate(order):
        counts = images[chosen]
        images.expect(order[(step + 1) % len(order)])
        yield counts


def some_of(rows: npt.NDArray[np.int64], most: int, *seed: int | str) -> npt.NDArray[np.int64]:
    """All rows, or a random `most` of them in their order."""
    if len(rows) <= most:
        return rows
    rng = np.random.default_rng(seed_of(*seed, "some of many"))
    return np.sort(rng.choice(rows, most, replace=False))


def chunks(n: int, size: int = CHUNK) -> Iterator[slice]:
    """Slices of at most `size` that cover 0 to n."""
    return (slice(first, min(first + size, n)) for first in range(0, n, size))


def detected(activity: Tensor, totals: Tensor, kind: str, generator: Generator) -> Tensor:
    """Images of an activity: Poisson counts, or for pictures the activity without noise.

    (N, S, S) float32 of mean 1, totals (N,) -> (N, S, S) float32, differentiable.
    """
    if kind == "counts":
        return acquire(activity, totals, generator)
    return activity * (totals / activity[0].numel()).view(-1, 1, 1)


def _read(stored: npt.NDArray[np.uint16], rows: npt.NDArray[np.int64], size: int) -> Tensor:
    return sum_pixels(torch.from_numpy(stored[rows].astype(np.float32)), size)


def _numpy(chosen: Tensor | slice) -> npt.NDArray[np.int64] | slice:
    return chosen if isinstance(chosen, slice) else chosen.numpy()
