"""Objects in a bucket: Amazon S3 and compatible servers, Google Cloud Storage, Azure.

Credentials come only from the environment (such as AWS_ACCESS_KEY_ID) or the machine's role. So
does the address of a private server (AWS_ENDPOINT_URL). The client retries failed requests for up
to a minute.
"""

from __future__ import annotations

import contextlib
import os
import re
import threading
import time
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import obstore
from obstore.exceptions import AlreadyExistsError, BaseError, PreconditionError
from obstore.store import ObjectStore, from_url

from thyroid.errors import InputError, StorageError
from thyroid.storage import lease

if TYPE_CHECKING:
    from obstore import UpdateVersion  # exists for type checkers only

SCHEMES = ("s3", "gs", "az")
RETRY_SECONDS = 60
"""Time for which a failed request is retried."""
MINUTES_PER_REQUEST = 30
"""Time limit of one request: a large file over a slow connection."""


def bucket_url(place: Path | str) -> str | None:
    """Return the URL of a place in a bucket; None if the place is a path.

    `Path` turns `s3://bucket/prefix` into `s3:/bucket/prefix`; both are understood.

    Raises
    ------
    InputError
        When the URL is of another kind or holds credentials.
    """
    parts = re.fullmatch(r"([a-z][a-z0-9+.-]+):/+(.*)", str(place))
    if parts is None:
        return None
    scheme, rest = parts[1], parts[2].strip("/")
    if scheme not in SCHEMES or not rest:
        kinds = ", ".join(f"{name}://BUCKET/FOLDER" for name in SCHEMES)
        raise InputError(f"{scheme}://{rest} cannot be used: name a folder, or {kinds}.")
    if "@" in rest.split("/")[0]:
        raise InputError(
            f"A {scheme} URL must not name credentials: they come from the environment."
        )
    return f"{scheme}://{rest}"


@dataclass(frozen=True)
class Bucket:
    """The objects below a URL. Names are relative to it.

    All methods raise StorageError when the bucket does not answer or refuses.
    """

    url: str

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle without the connection: each process opens its own."""
        return Bucket, (self.url,)

    def get(self, name: str) -> bytes | None:
        """Return an object's content; None if it does not exist."""
        found = self.get_with_version(name)
        return None if found is None else found[0]

    def get_with_version(self, name: str) -> tuple[bytes, UpdateVersion] | None:
        """Return an object's content and version; None if it does not exist."""
        with self._refusals(), contextlib.suppress(FileNotFoundError):
            found = obstore.get(self._objects, name)
            version: UpdateVersion = {}  # S3 and Azure use the e_tag, Google the version
            if found.meta["e_tag"] is not None:
                version["e_tag"] = found.meta["e_tag"]
            if found.meta["version"] is not None:
                version["version"] = found.meta["version"]
            return found.bytes().to_bytes(), version
        return None

    def fetch(self, name: str, path: Path) -> bool:
        """Download an object into a file; False if it does not exist."""
        with self._refusals():
            try:
                found = obstore.get(self._objects, name)
            except FileNotFoundError:
                return False
            with path.open("wb") as file:
                for chunk in found.stream():
                    file.write(chunk)
        return True

    def put(self, name: str, content: bytes | Path) -> None:
        """Write an object atomically."""
        with self._refusals():
            obstore.put(self._objects, name, content)

    def create(self, name: str, content: bytes) -> bool:
        """Write a new object; False if the name is taken.

        The content must be unique to the caller: when a response is lost and the request repeated,
        the content shows that the object is the caller's.
        """
        with self._refusals():
            try:
                obstore.put(self._objects, name, content, mode="create")
            except AlreadyExistsError:
                return self.get(name) == content
        return True

    def replace(self, name: str, content: bytes, version: UpdateVersion) -> bool:
        """Replace an object of this version; False if it has changed or is gone."""
        with self._refusals():
            try:
                obstore.put(self._objects, name, content, mode=version)
            except (PreconditionError, FileNotFoundError):
                return self.get(name) == content
        return True

    def delete(self, name: str) -> None:
        """Delete an object if it exists."""
        with self._refusals(), contextlib.suppress(FileNotFoundError):
            obstore.delete(self._objects, name)

    def names(self, prefix: str) -> list[str]:
        """Return the names of all objects below a prefix."""
        with self._refusals():
            return [meta["path"] for page in obstore.list(self._objects, prefix) for meta in page]

    def names_without(self, folders: Sequence[str]) -> list[str]:
        """Return the names of all objects outside these folders, which are not listed."""
        with self._refusals():
            top = obstore.list_with_delimiter(self._objects)
        names = [meta["path"] for meta in top["objects"]]
        for folder in top["common_prefixes"]:
            if folder.rstrip("/") not in folders:
                names += self.names(folder)
        return names

    @cached_property
    def _objects(self) -> ObjectStore:
        plain = os.environ.get("AWS_ENDPOINT_URL", "").startswith("http://")
        return from_url(
            self.url,
            client_options={
                "timeout": timedelta(minutes=MINUTES_PER_REQUEST),
                "read_timeout": timedelta(seconds=RETRY_SECONDS),
                **({"allow_http": True} if plain else {}),
            },
            retry_config={"retry_timeout": timedelta(seconds=RETRY_SECONDS)},
        )

    @contextlib.contextmanager
    def _refusals(self) -> Iterator[None]:
        try:
            yield
        except (BaseError, FileNotFoundError) as refusal:  # the bucket does not exist
            reason = str(refusal).strip().splitlines()[0]
            raise StorageError(
                f"Cannot use {self.url}: {reason}. Check the URL, the network and the credentials "
                "in the environment."
            ) from None


class Lease:
    """A `storage.lease` in a bucket: an object that its holder renews."""

    def __init__(self, bucket: Bucket, name: str) -> None:
        self._bucket, self._name = bucket, name
        self._holder = f"{lease.here()} {os.getpid()} {uuid.uuid4().hex}"

    @contextlib.contextmanager
    def held(self) -> Iterator[bool]:
        """Hold the lease within the block; yields False if another process holds it."""
        taken = self._bucket.create(self._name, f"{self._holder} 0".encode())
        done = threading.Event()
        heartbeat = threading.Thread(target=self._renew, args=(done,), daemon=True)
        try:
            if taken:
                heartbeat.start()
            yield taken
        finally:
            done.set()
            if taken:
                heartbeat.join()
                with contextlib.suppress(StorageError):  # it expires by itself
                    if self.mine():
                        self._bucket.delete(self._name)

    def mine(self) -> bool:
        """Check that no other process has taken the lease over."""
        return (self._bucket.get(self._name) or b"").startswith(self._holder.encode())

    def _renew(self, done: threading.Event) -> None:
        beat = 0
        while not done.wait(lease.LEASE_SECONDS / 6):
            beat += 1
            with contextlib.suppress(StorageError):  # the next renewal precedes the lease's end
                found = self._bucket.get_with_version(self._name)
                if found is None or not found[0].startswith(self._holder.encode()):
                    return
                self._bucket.replace(self._name, f"{self._holder} {beat}".encode(), found[1])


class Watch:
    """Observes a lease in a bucket to find out whether its holder is alive."""

    def __init__(self, bucket: Bucket, name: str) -> None:
        self._bucket, self._name = bucket, name
        self._seen: tuple[bytes, UpdateVersion] | None = None
        self._since = time.monotonic()

    def alive(self) -> bool:
        """Check again; the lease of a dead holder is removed."""
        found = self._bucket.get_with_version(self._name)
        if found is None:
            return False
        if found != self._seen:
            self._seen, self._since = found, time.monotonic()
        silent = time.monotonic() - self._since
        holder = found[0].decode(errors="replace").rpartition(" ")[0]
        if lease.died_here(holder) or silent > lease.LEASE_SECONDS:
            if self._bucket.replace(self._name, uuid.uuid4().bytes, found[1]):
                self._bucket.delete(self._name)
            return False
        return True
