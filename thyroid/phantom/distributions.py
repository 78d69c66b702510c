"""Truncated distributions, given by mean and standard deviation as publications print them."""

import math
from dataclasses import dataclass

import numpy as np

_MOST_TRIES = 10_000


def lognormal(
    rng: np.random.Generator, mean: float, sd: float, *, low: float = 0.0, high: float = math.inf
) -> float:
    """Draw from a log-normal with this mean and sd (before truncation), within [low, high]."""
    variance = math.log1p((sd / mean) ** 2)
    location, scale = math.log(mean) - variance / 2, math.sqrt(variance)
    for _ in range(_MOST_TRIES):
        value = math.exp(location + scale * rng.standard_normal())
        if low <= value <= high:
            return value
    raise ValueError(f"a log-normal of {mean} +- {sd} hardly ever lies in [{low}, {high}]")


def normal(
    rng: np.random.Generator,
    mean: float,
    sd: float,
    *,
    low: float = -math.inf,
    high: float = math.inf,
) -> float:
    """Draw from a normal with this mean and sd (before truncation), within [low, high]."""
    for _ in range(_MOST_TRIES):
        value = mean + sd * rng.standard_normal()
        if low <= value <= high:
            return float(value)
    raise ValueError(f"a normal of {mean} +- {sd} hardly ever lies in [{low}, {high}]")


@dataclass(frozen=True)
class LogNormal:
    """A truncated log-normal distribution, as `lognormal` takes it."""

    mean: float
    sd: float
    low: float = 0.0
    high: float = math.inf

    def draw(self, rng: np.random.Generator) -> float:
        """Draw one value."""
        return lognormal(rng, self.mean, self.sd, low=self.low, high=self.high)
