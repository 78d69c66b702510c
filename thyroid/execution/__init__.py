"""Computing stages: in this process, as Ray tasks, or on several workers through Ray Train.

Only this package and `thyroid.tuning` import ray. `in_process` and `meter` import none, as callers
without a cluster use them; `train_workers` alone imports torch, through Ray Train.
"""
