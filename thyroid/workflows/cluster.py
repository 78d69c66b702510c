"""Ray, for the workflows that compute on it: an existing cluster, or a Ray started here."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from thyroid.execution.connection import GROWTH_SECONDS, connected
from thyroid.execution.nodes import abilities, require_room, tell_unused_gpus
from thyroid.machine import Processor
from thyroid.recipe import ExecutionConfig
from thyroid.workflows.options import RunOptions


@contextlib.contextmanager
def ray_with_room(execution: ExecutionConfig, options: RunOptions) -> Iterator[None]:
    """Connect, within the block, to a Ray that has room for the recipe's stages.

    Raises
    ------
    InputError
        When no cluster answers, or none of its machines is large enough.
    """
    with connected(options.address):
        wait_s = GROWTH_SECONDS if options.joins_cluster else 0.0  # one machine does not grow
        require_room(execution, options.gpus_per_worker, wait_s)
        tell_unused_gpus(execution)
        yield


def machine_of_stages(options: RunOptions) -> Processor:
    """Return the processor of a node of the cluster.

    Raises
    ------
    InputError
        When no cluster answers.
    """
    with connected(options.address):
        return abilities(options.gpus_per_worker, GROWTH_SECONDS)
