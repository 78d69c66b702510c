"""One run: its folder, the experiment that fills it, what it used, shared and compared.

May import everything but `distribute`, `commands` and ray: a runner is handed in.
"""
