"""Artifacts and run folders on disk and in buckets: the store, leases, copies, making room.

Knows of bytes and keys only. May import of thyroid `errors` and `files`; never torch or ray.
"""
