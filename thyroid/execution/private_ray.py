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

    On Windows and macOS this is Ray's default. The environment variable for it,
    RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER, cannot be used, because Ray reads it when it is imported.
    """
    before = ray_constants.ENABLE_RAY_CLUSTER
    ray_constants.ENABLE_RAY_CLUSTER = False
    try:
        yield
    finally:
        ray_constants.ENABLE_RAY_CLUSTER = before


def head_found() -> str | None:
    """Return HOST:PORT of the cluster that Ray would join as `auto`; None if it finds none.

    The address may come from the file of a cluster that has stopped; Ray would wait two minutes for
    it.
    """
    found: str | None = services.canonicalize_bootstrap_address("auto")
    return found
