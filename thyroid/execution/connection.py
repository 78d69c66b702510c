"""Joining a Ray cluster, or starting one on this machine."""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import threading
from collections.abc import Iterator
from pathlib import Path

import ray
from ray._private import ray_constants

from thyroid import progress
from thyroid.errors import InputError

GROWTH_SECONDS = 300.0
"""That a cluster may take until its first workers are there."""


def patience(address: str | None) -> float:
    """Seconds to wait for room: a cluster may grow, a Ray that is started here does not."""
    joined = address or os.environ.get("RAY_ADDRESS")
    return GROWTH_SECONDS if joined not in (None, "", "local") else 0.0


@contextlib.contextmanager
def connected(address: str | None = None, cpus: int | None = None) -> Iterator[None]:
    """Be connected to Ray within the block; what this starts, this stops.

    Parameters
    ----------
    address : of a running cluster (`auto`, `host:port`), of which this machine is a node; None
        starts Ray here, unless RAY_ADDRESS names a cluster or this process is connected already
    cpus : processors that a Ray started here may use; None means all

    Raises
    ------
    InputError
        When no cluster answers at `address`, or it is one of Ray Client.
    """
    named = address or os.environ.get("RAY_ADDRESS", "")
    if named.startswith("ray://"):  # Tune would search in another process and tell nothing of it
        raise InputError(
            f"'{named}' is an address of Ray Client, through which a search cannot be followed: "
            "send the command to the cluster by `ray submit` or `ray job submit`, or run it on "
            "the head node with --address auto."
        )
    if ray.is_initialized():
        yield
        return
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    # Seconds, not minutes, between the end of a worker group and its notice.
    os.environ.setdefault("RAY_TRAIN_HEALTH_CHECK_INTERVAL_S", "0.2")
    os.environ.setdefault("RAY_AIR_NEW_OUTPUT", "0")
    # A task's GPUs are chosen by Ray, and none means none: say so before Ray changes its default.
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    progress.say(f"joining Ray at {named}" if named else "starting Ray on this machine")
    try:
        with _stoppable() if named else _on_loopback():
            ray.init(
                address=named or "local",  # else it joins whatever it finds in /tmp, whosever it is
                num_cpus=None if named else cpus,
                include_dashboard=None if named else True,
                dashboard_host="127.0.0.1",
                log_to_driver=False,
                logging_level=logging.ERROR,
                configure_logging=True,
            )
        with contextlib.suppress(OSError):  # Ray leaves it to the umask who may read its token
            (Path.home() / ".ray" / "auth_token").chmod(0o600)
    except Exception as refusal:  # Ray raises what is nothing but an Exception, too
        if named in ("", "local"):
            raise InputError(
                f"Ray did not start on this machine ({' '.join(str(refusal).split())}): is there "
                "memory left, and room in /tmp? The same command tries again."
            ) from refusal
        raise InputError(
            f"No Ray cluster answers at '{named}': start one with `ray start --head`, "
            "or leave --address away to run on this machine."
        ) from refusal
    except KeyboardInterrupt:
        ray.shutdown()
        raise
    try:
        yield
    finally:
        ray.shutdown()


@contextlib.contextmanager
def _on_loopback() -> Iterator[None]:
    """A Ray that is started within the block listens on 127.0.0.1 alone.

    So it does by itself on Windows and macOS; RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER, which decides
    that, is read once, when Ray is imported.
    """
    before = ray_constants.ENABLE_RAY_CLUSTER
    ray_constants.ENABLE_RAY_CLUSTER = False
    try:
        with _stoppable(afterwards=True):
            yield
    finally:
        ray_constants.ENABLE_RAY_CLUSTER = before


@contextlib.contextmanager
def _stoppable(*, afterwards: bool = False) -> Iterator[None]:
    """Ray takes SIGTERM for itself, and ends the process without a word: whoever had it has it
    again.

    Parameters
    ----------
    afterwards : a SIGINT within the block is told at its end, also of a block that failed, as Ray's
        processes may have had it, too; of a Ray that is interrupted while it starts, some are left
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    came: list[int] = []
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    if afterwards:
        signal.signal(signal.SIGINT, lambda number, _: came.append(number))
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        if came:
            signal.raise_signal(signal.SIGINT)
