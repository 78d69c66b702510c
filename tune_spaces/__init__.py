"""Search spaces, one per file: `space(trial, recipe) -> Recipe`, define-by-run.

May import optuna, and of thyroid `networks`, `pipeline` and `recipe`; what imports torch only
within a function, as trial drivers must not, and never ray.
"""
