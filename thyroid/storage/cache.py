"""The cache folder of this machine, which may be deleted while no command runs."""

from __future__ import annotations

import os
from pathlib import Path

from thyroid.files import cannot_write


def cache_folder(kind: str) -> Path:
    """Create and return a private cache folder, below THYROID_CACHE or `~/.cache/thyroid`.

    Raises
    ------
    StorageError
        When it cannot be created.
    """
    user = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    root = Path(os.environ.get("THYROID_CACHE") or Path(user) / "thyroid").absolute()
    with cannot_write(root):
        root.mkdir(parents=True, exist_ok=True, mode=0o700)
        (root / kind).mkdir(exist_ok=True)
    return root / kind
