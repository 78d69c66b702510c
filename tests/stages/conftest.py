"""Data that generators learn from."""

from __future__ import annotations

from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def crossed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of the toy data set with 24 additional cross images. Tests must not change it."""
    from tests.toy import write_toy

    return write_toy(tmp_path_factory.mktemp("crossed") / "dataset", crosses=24).folder
