from pathlib import Path

import pytest

from thyroid.storage.store import Store


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """A store that no command uses."""
    return Store(tmp_path / "store")
