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

from thyroid import progress
from thyroid.errors import InputError
from thyroid.execution.private_ray import on_loopback

GROWTH_SECONDS = 300.0
"""A cluster may take this long to start its first workers."""


@contextlib.contextmanager
def connected(address: str | None = None, cpus: int | None = None) -> Iterator[None]:
    """Connect to Ray within the block; a Ray that this starts stops at its end.

    Parameters
    ----------
    address : a running cluster (`auto`, `host:port`) that this machine is a node of; None
        starts Ray here, unless RAY_ADDRESS names a cluster or this process is connected already
    cpus : processors that a Ray started here may use; None: all

    Raises
    ------
    InputError
        When no cluster answers at `address`, or it is an address of Ray Client.
    """
    named = address or os.environ.get("RAY_ADDRESS", "")
    if named.startswith("ray://"):  # Tune would run on the server and report nothing here
        raise InputError(
            f"'{named}' is an address of Ray Client, which does not report a search's progress: "
            "send the command to the cluster with `ray submit` or `ray job submit`, or run it on "
            "the head node with --address auto."
        )
    if ray.is_initialized():
        yield
        return
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    # Seconds between two checks: Train's default notices the end of a worker group minutes late.
    os.environ.setdefault("RAY_TRAIN_HEALTH_CHECK_INTERVAL_S", "0.2")
    os.environ.setdefault("RAY_AIR_NEW_OUTPUT", "0")
    # A task without GPUs sees none; set explicitly, as Ray's default is about to change.
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    progress.say(f"joining Ray at {named}" if named else "starting Ray on this machine")
    try:
        loopback = contextlib.nullcontext() if named else on_loopback()
        with loopback, _own_signals(defer_sigint=not named):
            ray.init(
                address=named or "local",  # else Ray joins any cluster that it finds in /tmp
                num_cpus=None if named else cpus,
                include_dashboard=None if named else True,
                dashboard_host="127.0.0.1",
                log_to_driver=False,
                logging_level=logging.ERROR,
                configure_logging=True,
            )
        with contextlib.suppress(OSError):  # Ray's token has the umask's mode
            (Path.home() / ".ray" / "auth_token").chmod(0o600)
    except Exception as refusal:  # Ray raises plain Exceptions, too
        if named in ("", "local"):
            raise InputError(
                f"Ray did not start on this machine ({' '.join(str(refusal).split())}): check that "
                "memory and space in /tmp are free, and run the same command again."
            ) from refusal
        raise InputError(
            f"No Ray cluster answers at '{named}': start one with `ray start --head`, "
            "or leave out --address to run on this machine."
        ) from refusal
    except KeyboardInterrupt:
        ray.shutdown()
        raise
    try:
        yield
    finally:
        ray.shutdown()


@contextlib.contextmanager
def _own_signals(*, defer_sigint: bool) -> Iterator[None]:
    """Restore the handlers of SIGINT and SIGTERM, which Ray replaces within the block.

    Parameters
    ----------
    defer_sigint : raise a SIGINT at the end of the block, even if the block fails: interrupting
        Ray while it starts leaves processes behind
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    deferred: list[int] = []
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    if defer_sigint:
        signal.signal(signal.SIGINT, lambda number, _: deferred.append(number))
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        if deferred:
            signal.raise_signal(signal.SIGINT)
