"""Chooses between a store in a folder and a store in a bucket."""

from __future__ import annotations

from pathlib import Path

from thyroid.storage.bucket import bucket_url
from thyroid.storage.bucket_store import BucketStore
from thyroid.storage.store import Store


def open_store(place: Path | str, run: str = "") -> Store:
    """Return the store in a folder, or in the bucket that a URL names.

    Parameters
    ----------
    place : a folder, or a URL such as s3://BUCKET/STORE
    run : id of the run that builds artifacts; manifests record it

    Raises
    ------
    InputError
        When the place is a URL of another kind.
    """
    url = bucket_url(place)
    return Store(Path(place).absolute(), run) if url is None else BucketStore.of(url, run)
