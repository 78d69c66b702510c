"""One run: its folder, the experiment that fills it, its usage, shared stages and comparisons.

May not import `search`, `commands`, `model`, `phantom`, `precision`, reports or ray: callers pass a
runner. Only `preflight` imports torch.
"""
