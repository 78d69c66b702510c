"""Computing stages: in this process, as Ray tasks, or on several workers through Ray Train.

Only this package and `thyroid.tuning` import ray. Modules that stages' callers need without a
cluster (`in_process`) import no ray; none imports torch, which the stages themselves do.
"""
