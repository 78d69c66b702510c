"""One run: its folder, the experiment that fills it, what it used, shared and compared.

May not import `search`, `commands`, `model`, `phantom`, `precision`, reports or ray: a runner is
handed in. Only `preflight` imports torch.
"""
