"""Ray, for the workflows that compute on it: a cluster that is joined, or a Ray started here."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from thyroid.execution.connection import connected, growth_seconds
from thyroid.execution.nodes import require_room
from thyroid.recipe import ExecutionConfig
from thyroid.workflows.options import RunOptions


@contextlib.contextmanager
def ray_with_room(execution: ExecutionConfig, options: RunOptions) -> Iterator[None]:
    """Be connected to a Ray that has room for the recipe's stages, within the block.

    Raises
    ------
    InputError
        When no cluster answers, or none of its machines is large enough.
    """
    with connected(options.address):
        require_room(execution, options.gpus_per_worker, growth_seconds(options.address))
        yield
