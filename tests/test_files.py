"""Files are written completely and synchronised to the disk."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from thyroid.errors import StorageError
from thyroid.files import replace_text


def test_a_file_is_on_the_disk_before_it_takes_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Otherwise a power cut may leave an empty file instead of a complete one."""
    path, synced = tmp_path / "file", []
    path.write_text("old")
    fsync = os.fsync

    def watched(descriptor: int) -> None:
        size = os.fstat(descriptor).st_size
        synced.append((path.read_text(), size, os.fstat(descriptor).st_ino))
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", watched)
    replace_text(path, "whole")
    assert synced == [("old", 5, path.stat().st_ino)]
    assert path.read_text() == "whole"
    assert list(tmp_path.iterdir()) == [path]


def test_what_cannot_be_brought_to_the_disk_leaves_the_old_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "file"
    replace_text(path, "old")

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(StorageError, match="No space left"):
        replace_text(path, "new")
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]
