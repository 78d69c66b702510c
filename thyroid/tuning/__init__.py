"""Tuning recipes, as `thyroid search` does: Ray Tune runs trials, an Optuna study keeps them, ASHA
stops them early.

Trial drivers import no torch: they ask `thyroid.execution` for stages and wait. The package is not
called `search`, because `thyroid.search` is the function for notebooks.
"""
