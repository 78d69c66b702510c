import hashlib
from pathlib import Path

import pytest

from thyroid.errors import StorageError
from thyroid.execution.in_process import in_process
from thyroid.stage import Stage
from thyroid.stage_config import WeightsConfig
from thyroid.stages.copy_weights import FILE
from thyroid.storage.store import Store


def test_a_users_file_is_kept_under_its_content(tmp_path: Path) -> None:
    file, content = tmp_path / "vgg19.pth", bytes(range(256)) * 100
    file.write_bytes(content)
    digest = hashlib.sha256(content).hexdigest()
    stage = Stage(kind="weights", config=WeightsConfig(), dataset=digest)
    store = Store(tmp_path / "store")
    runner = in_process(store, {digest: file})
    assert [m["bytes"] for m in runner([stage])] == [len(content)]
    folder = store.open(stage.key)
    assert folder is not None
    assert (folder / FILE).read_bytes() == content
    file.unlink()  # another machine may have only the store
    assert [m["reused"] for m in runner([stage])] == [True]


def test_another_file_than_the_recipes_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "vgg19.pth"
    file.write_bytes(b"other weights")
    stage = Stage(kind="weights", config=WeightsConfig(), dataset="0" * 64)
    store = Store(tmp_path / "store")
    with pytest.raises(StorageError, match=r"vgg19\.pth was changed"):
        list(in_process(store, {"0" * 64: file})([stage]))
    assert stage.key not in store
