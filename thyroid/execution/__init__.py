"""Computing stages: in this process, as Ray tasks, or on several workers through Ray Train.

Only this package and `thyroid.tuning` import ray. `in_process` and `meter` do not, because callers
without a cluster use them; only `train_workers` imports torch, through Ray Train.
"""
