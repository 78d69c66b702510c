"""Artifacts and run folders on disk and in buckets: store, leases, local copies, pruning.

It knows bytes and keys only. It may import thyroid's `errors` and `files`; never torch or ray.
"""
