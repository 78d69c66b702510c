"""Resolves `auto` of network.precision and network.layout to those that train fastest.

| processor | network | trains fastest in |
|---|---|---|
| with amx_bf16 | gains from bf16 (`networks.build.gains_from_bf16`) | bf16, channels last |
| with amx_bf16 | does not gain from it | float32, channels last |
| any other | any | float32, channels last |
| a GPU from compute capability 8.0 on | any | bf16, channels last (not measured) |
| an older GPU | any | float32, channels last (not measured) |

tests/benchmarks/test_precision_table.py measures this, docs/results/measurements.md has the
figures; ARM was not measured. Timing each training instead would give other keys on a busy machine:
precision and layout are part of a classifier's key.
"""

from __future__ import annotations

import dataclasses

from thyroid import machine
from thyroid.machine import Processor
from thyroid.networks.build import gains_from_bf16
from thyroid.recipe import NetworkConfig, Recipe


def resolve_precision(
    recipe: Recipe, before: Recipe | None = None, there: Processor | None = None
) -> Recipe:
    """Replace `auto` in the recipe's network by what the run began with, else by the table.

    An execution.precision that is not the machine's own choice is the user's, and holds for the
    classifier, too.

    Parameters
    ----------
    recipe : its execution is resolved
    before : the recipe that the run began with, if it continues
    there : the machine that computes; default: this one

    Raises
    ------
    InputError
        When there is no such network.
    """
    network, execution = recipe.network, recipe.execution
    if before is not None and before.network.name == network.name:
        network = _as_before(network, before.network)
    precision = network.precision
    if precision == "auto":
        there = there or machine.here()
        usual = machine.resolve(dataclasses.replace(execution, precision="auto"), there).precision
        precision = execution.precision
        if precision == usual and execution.device == "cpu":
            gains = there.cpu_amx_bf16 and gains_from_bf16(network)
            precision = "bf16" if gains else "fp32"
    layout = "channels_last" if network.layout == "auto" else network.layout
    network = dataclasses.replace(network, precision=precision, layout=layout)
    return dataclasses.replace(recipe, network=network)


def _as_before(network: NetworkConfig, before: NetworkConfig) -> NetworkConfig:
    return dataclasses.replace(
        network,
        precision=before.precision if network.precision == "auto" else network.precision,
        layout=before.layout if network.layout == "auto" else network.layout,
    )
