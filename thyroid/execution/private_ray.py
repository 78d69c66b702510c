"""Ray 2.60's private names that this project needs; tests/security/test_ray.py and
tests/execution/test_connection.py guard them.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from ray._private import ray_constants, services


@contextlib.contextmanager
def on_loopback() -> Iterator[None]:
    """Let a Ray that starts within the block listen on 127.0.0.1 alone.

    Ray does so by itself on Windows and macOS; the environment variable that decides it,
    RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER, is read when Ray is imported, which is too early.
    """
    before = ray_constants.ENABLE_RAY_CLUSTER
    ray_constants.ENABLE_RAY_CLUSTER = False
    try:
        yield
    finally:
        ray_constants.ENABLE_RAY_CLUSTER = before


def head_found() -> str | None:
    """Return HOST:PORT of the cluster that Ray would join as `auto`; None if it finds none.

    A file of a cluster that is gone names one, too, which Ray would wait for for two minutes.
    """
    found: str | None = services.canonicalize_bootstrap_address("auto")
    return found
