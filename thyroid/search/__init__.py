"""Searching recipes: Ray Tune runs trials, an Optuna study keeps them, ASHA stops them early.

Trial drivers import no torch: they ask `thyroid.execution` for stages and wait.
"""
