"""Joining a Ray cluster, or starting one on this machine."""

from __future__ import annotations

import contextlib
import logging
import os
from collections.abc import Iterator

import ray

from thyroid.errors import InputError


@contextlib.contextmanager
def connected(address: str | None = None, cpus: int | None = None) -> Iterator[None]:
    """Be connected to Ray within the block; what this starts, this stops.

    Parameters
    ----------
    address : of a running cluster (`auto`, `host:port`, `ray://host:port`); None starts Ray here,
        unless this process is connected already
    cpus : processors that a Ray started here may use; None means all

    Raises
    ------
    InputError
        When no cluster answers at `address`.
    """
    if ray.is_initialized():
        yield
        return
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    # Seconds, not minutes, between the end of a worker group and its notice (RAY.md).
    os.environ.setdefault("RAY_TRAIN_HEALTH_CHECK_INTERVAL_S", "0.2")
    os.environ.setdefault("RAY_AIR_NEW_OUTPUT", "0")
    # A task's GPUs are chosen by Ray, and none means none: say so before Ray changes its default.
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    try:
        ray.init(
            address=address,
            num_cpus=cpus if address is None else None,
            include_dashboard=None if address else True,
            dashboard_host="127.0.0.1",
            log_to_driver=False,
            logging_level=logging.ERROR,
            configure_logging=True,
        )
    except (ConnectionError, ValueError, RuntimeError) as refusal:
        raise InputError(
            f"No Ray cluster answers at '{address}': start one with `ray start --head`, "
            "or leave --address away to run on this machine."
        ) from refusal
    try:
        yield
    finally:
        ray.shutdown()
