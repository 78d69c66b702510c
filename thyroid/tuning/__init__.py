"""Tuning recipes for `thyroid search`: Ray Tune runs trials, an Optuna study stores them, and ASHA
stops them early.

Trial drivers import no torch: they ask `thyroid.execution` for stages and wait. The package is not
called `search`, because `thyroid.search` is the function for notebooks.
"""
