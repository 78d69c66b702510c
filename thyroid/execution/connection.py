"""Joining a Ray cluster, or starting one on this machine."""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import ray

from thyroid import progress
from thyroid.errors import InputError
from thyroid.execution import ray_needs
from thyroid.execution.private_ray import head_found, on_loopback

STARTS = 2
ANSWER_SECONDS = 10.0
"""A cluster's head that does not answer within this time is treated as absent."""
END_SECONDS = 5.0
REASON_LENGTH = 200
"""Ray's error messages are cut to this length, because they may include whole logs."""

GROWTH_SECONDS = 300.0
"""A cluster may take this long to start its first workers."""


@contextlib.contextmanager
def connected(address: str | None = None, cpus: int | None = None) -> Iterator[None]:
    """Connect to Ray within the block; if this starts Ray, Ray stops at the end of the block.

    Parameters
    ----------
    address : a running cluster (`auto`, `host:port`) of which this machine is a node; None
        starts Ray here, unless RAY_ADDRESS names a cluster or this process is already connected
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
    # A task without GPUs sees its node's GPUs; set explicitly, because Ray's default will change.
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    if named in ("", "local"):
        progress.say("starting Ray on this machine")
        _start(cpus)
    else:
        progress.say(f"joining Ray at {named}")
        _join(named)
    with contextlib.suppress(OSError, RuntimeError):  # Ray gives the token the umask's mode
        (Path.home() / ".ray" / "auth_token").chmod(0o600)
    try:
        yield
    finally:
        ray.shutdown()


def _start(cpus: int | None) -> None:
    """Start Ray on this machine; try a second time if a busy machine made it too slow."""
    further = ray_needs.prepare()
    # The error that Ray raises contains what it logs while it starts.
    logging.getLogger("ray._private.services").setLevel(logging.CRITICAL)
    for attempt in range(STARTS):
        before = _children()
        try:
            with on_loopback(), _own_signals(defer_sigint=True):
                ray.init(
                    address="local",  # else Ray joins any cluster that it finds in /tmp
                    num_cpus=cpus,
                    include_dashboard=True,
                    dashboard_host="127.0.0.1",
                    log_to_driver=False,
                    logging_level=logging.ERROR,
                    configure_logging=True,
                    **further,
                )
            return
        except KeyboardInterrupt:
            ray.shutdown()
            _end(_children() - before)
            raise
        except Exception as refusal:  # Ray raises plain Exceptions, too
            ray.shutdown()
            _end(_children() - before)
            told = " ".join(str(refusal).split())
            told = f"{told[:REASON_LENGTH]}..." if len(told) > REASON_LENGTH else told
            slow = "timed out" in told.lower() or ray_needs.busy()
            if slow and attempt + 1 < STARTS:
                progress.say("Ray did not start in time: trying once more")
                continue
            raise InputError(
                f"Ray did not start on this machine ({told.rstrip('.')}): {ray_needs.lacking()}."
            ) from refusal


def _join(address: str) -> None:
    """Join a running cluster.

    Raises
    ------
    InputError
        When no cluster answers.
    """
    try:
        _require_listening(address)
        with _own_signals(defer_sigint=False), _without_lines_of_grpc():
            ray.init(
                address=address,
                log_to_driver=False,
                logging_level=logging.ERROR,
                configure_logging=True,
            )
    except InputError:
        raise
    except KeyboardInterrupt:
        ray.shutdown()
        raise
    except Exception as refusal:
        reason = " ".join(str(refusal).split()).rstrip(".")[:REASON_LENGTH]
        raise InputError(
            f"No Ray cluster answers at '{address}' ({reason}): start one with `ray start --head`, "
            "or leave out --address to run on this machine."
        ) from refusal


def _require_listening(address: str) -> None:
    """Raise OSError if nothing listens at `host:port`; gRPC would keep trying for a long time."""
    head = head_found() if address == "auto" else address
    if head is None:
        raise ConnectionError("no cluster runs on this machine")
    host, _, port = head.rpartition(":")
    if not host or not port.isdecimal() or int(port) > 65535:
        raise InputError(f"--address '{address}' is no address: write HOST:PORT, auto or local.")
    with socket.create_connection((host.strip("[]"), int(port)), timeout=ANSWER_SECONDS):
        pass


@contextlib.contextmanager
def _without_lines_of_grpc() -> Iterator[None]:
    """Drop the lines that Ray's C++ part writes to stderr within the block."""
    own = os.dup(2)
    try:
        with open(os.devnull, "wb") as nowhere:
            os.dup2(nowhere.fileno(), 2)
        yield
    finally:
        os.dup2(own, 2)
        os.close(own)


def _children() -> set[int]:
    """Return the running child processes of this process; none on systems without /proc."""
    found = set()
    for status in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError, ValueError, IndexError):
            parent = int(status.read_text().rpartition(")")[2].split()[1])
            if parent == os.getpid():
                found.add(int(status.parent.name))
    return found


def _end(processes: set[int]) -> None:
    """End the processes left by a Ray that did not start; Ray's other processes end with them."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        for process in processes & _children():
            with contextlib.suppress(ProcessLookupError):
                os.kill(process, number)
        until = time.monotonic() + END_SECONDS
        while (left := processes & _children()) and time.monotonic() < until:
            for process in left:
                with contextlib.suppress(ChildProcessError):
                    os.waitpid(process, os.WNOHANG)
            time.sleep(0.05)


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
