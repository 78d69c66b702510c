"""Search spaces, one per file: `space(trial, recipe) -> Recipe`, define-by-run.

They may import optuna and thyroid's `networks`, `pipeline` and `recipe`, never ray; modules that
import torch are imported within a function, because trial drivers must not import torch.
"""
