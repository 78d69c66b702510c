"""A store in a bucket that many machines share, each with its own cache.

Objects cannot be renamed, so an artifact becomes visible by its manifest, which names the place of
its files. The manifest is written last, and only if there is none: when two machines build one key,
the first machine's artifact is used.

BUCKET/artifacts/KE/KEY      the manifest
BUCKET/files/KEY/PLACE/...   the files
BUCKET/failures/KE/KEY       a sentence that says why the stage failed
BUCKET/claims/KEY            the lease of the process that builds the artifact
BUCKET/damaged/...           manifests of artifacts that did not match their checksums
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import time
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

from thyroid.files import cannot_write
from thyroid.storage import bucket
from thyroid.storage.bucket import Bucket
from thyroid.storage.cache import cache_folder
from thyroid.storage.store import Busy, Store, Watch, checksums, parse_manifest

MANIFEST_CACHE_SECONDS = 10.0
"""Time for which a manifest is not read again."""


@dataclass(frozen=True)
class BucketStore(Store):
    """The artifacts below a URL. `root` is this machine's cache, which is itself a `Store`."""

    url: str = field(kw_only=True)
    poll_seconds: ClassVar[float] = 1.0

    @classmethod
    def of(cls, url: str, run: str = "") -> BucketStore:
        """Return the store at a URL."""
        cache = cache_folder("stores") / hashlib.sha256(url.encode()).hexdigest()[:16]
        return cls(cache, run, url=url)

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle without the cache's path: another machine has another cache."""
        return BucketStore.of, (self.url, self.run)

    @property
    def place(self) -> str:
        """The store's URL."""
        return self.url

    @cached_property
    def _cache(self) -> Store:
        return Store(self.root, self.run)

    @cached_property
    def _bucket(self) -> Bucket:
        return Bucket(self.url)

    @cached_property
    def _known(self) -> dict[str, tuple[float, dict[str, Any]]]:
        return {}

    def __contains__(self, key: str) -> bool:
        """Check that the artifact is in the bucket."""
        return self.manifest(key) is not None

    def manifest(self, key: str) -> dict[str, Any] | None:
        """Return the manifest as `Store.manifest` does, at most ten seconds old."""
        seen, manifest = self._known.get(key, (0.0, {}))
        if manifest and time.monotonic() - seen < MANIFEST_CACHE_SECONDS:
            return manifest
        self._known.pop(key, None)
        content = self._bucket.get(_artifact(key))
        if content is None:
            return None
        found = parse_manifest(content, key)
        if found is None or not str(found.get("place")).startswith(_files(key)):
            self._discard(key)
            return None
        self._known[key] = time.monotonic(), found
        return found

    def open(self, key: str) -> Path | None:
        """Return the artifact's verified folder in the cache; download it if it is not there."""
        while (manifest := self.manifest(key)) is not None:
            folder = self._cache.open(key) if self._is_cached(key, manifest) else None
            if folder is not None:
                return folder
            try:
                if not self._fetch(key, manifest):
                    self._discard(key)
            except Busy:
                self._cache.wait(key)
        return None

    def read(self, key: str, name: str) -> bytes | None:
        """Return one verified file of an artifact, from the cache if possible."""
        manifest = self.manifest(key)
        if manifest is None:
            return None
        if self._is_cached(key, manifest):
            content = self._cache.read(key, name)
            if content is not None:
                return content
        content = self._bucket.get(f"{manifest['place']}/{name}") or b""
        if hashlib.sha256(content).hexdigest() == manifest["files"].get(name):
            return content
        self._discard(key)
        return None

    def intact(self, key: str) -> bool:
        """Verify the artifact, as `Store.intact` does."""
        return self.open(key) is not None

    @contextlib.contextmanager
    def claimed(self, key: str) -> Iterator[bool]:
        """Hold the claim on a key in the bucket, as `Store.claimed` does."""
        with bucket.Lease(self._bucket, f"claims/{key}").held() as mine:
            yield mine

    def watch(self, key: str) -> Watch:
        """Return an object to poll, as `Store.watch` does."""
        return Watch(lambda: key in self, bucket.Watch(self._bucket, f"claims/{key}").alive)

    def fail(self, key: str, reason: str) -> None:
        """Record a failure, as `Store.fail` does."""
        self._bucket.put(_failure(key), reason.encode())

    def failure(self, key: str) -> str | None:
        """Return the recorded failure, as `Store.failure` does."""
        reason = self._bucket.get(_failure(key))
        return None if reason is None else reason.decode()

    def damaged(self) -> set[str]:
        """Return first digits of damaged keys, as `Store.damaged` does."""
        return {name.rpartition("/")[2][:16] for name in self._bucket.names("damaged")}

    def publish(self, folder: Path, manifest: Mapping[str, Any]) -> None:
        """Upload a filled folder and its manifest, and add it to the cache."""
        key = manifest["key"]
        place = _files(key) + uuid.uuid4().hex
        for name in manifest["files"]:
            self._bucket.put(f"{place}/{name}", folder / name)
        content = json.dumps({**manifest, "place": place}).encode()
        if self._bucket.create(_artifact(key), content):
            self._cache.publish(folder, manifest)
        else:  # a builder that was thought dead has finished
            for name in manifest["files"]:
                self._bucket.delete(f"{place}/{name}")

    def _fetch(self, key: str, manifest: Mapping[str, Any]) -> bool:
        """Download an artifact into the cache; False if the bucket's files are damaged.

        Raises
        ------
        Busy
            When another process of this machine downloads it.
        """
        with self._cache.claimed(key) as mine:
            if not mine:
                raise Busy(key)
            if self._is_cached(key, manifest):
                return True
            if self._cache.manifest(key) is not None:  # its files are no longer in the bucket
                self._cache.set_aside(self.artifact(key))
            with self._cache.scratch(key) as folder:
                for name in manifest["files"]:
                    path = folder / name
                    with cannot_write(self.root):
                        path.parent.mkdir(parents=True, exist_ok=True)
                        self._bucket.fetch(f"{manifest['place']}/{name}", path)
                if checksums(folder) != manifest["files"]:
                    return False
                self._cache.publish(folder, manifest)
        return True

    def _is_cached(self, key: str, manifest: Mapping[str, Any]) -> bool:
        cached = self._cache.manifest(key)
        return cached is not None and cached["files"] == manifest["files"]

    def _discard(self, key: str) -> None:
        """Move a damaged artifact's manifest away, so that the artifact is computed again."""
        self._known.pop(key, None)
        manifest = self._bucket.get(_artifact(key))
        if manifest is not None:
            self._bucket.put(f"damaged/{key[:16]}-{uuid.uuid4().hex[:8]}", manifest)
            self._bucket.delete(_artifact(key))


def _artifact(key: str) -> str:
    return f"artifacts/{key[:2]}/{key}"


def _failure(key: str) -> str:
    return f"failures/{key[:2]}/{key}"


def _files(key: str) -> str:
    return f"files/{key}/"
