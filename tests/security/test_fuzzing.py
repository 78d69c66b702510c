"""Damaged files are read or refused in a sentence, without crash, hang or unlimited memory."""

from __future__ import annotations

from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from tests.data.make import small_dataset
from tests.security.originals import originals
from tests.security.reading import MOST_MEGABYTES, outcomes
from thyroid.data.reader import parse_scintigram


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Sound files, and a data set."""
    folder = tmp_path_factory.mktemp("sound")
    for name, content in originals().items():
        (folder / name).write_bytes(content)
    rows = [(f"p{i}", "A", ("a", "b", "a;b")[i % 3]) for i in range(9)]
    small_dataset(folder / "dataset", rows)
    return folder


def test_the_sound_files_are_read(sound: Path) -> None:
    for path in filter(Path.is_file, sound.iterdir()):
        assert np.ptp(parse_scintigram(path.read_bytes(), path).matrix) > 0


def require_sentences(said: list[str]) -> None:
    """Assert that some are read, many are refused, and each refusal has its reason in a line."""
    read = said.count("'read'")
    assert 0.15 * len(said) < read < 0.7 * len(said), Counter(said).most_common(10)
    for sentence in set(said):
        assert 3 < len(sentence) < 600
        assert "\\n" not in sentence
        assert "Traceback" not in sentence


def test_300_changed_files(sound: Path, tmp_path: Path) -> None:
    said, peak = outcomes(tmp_path / "work", str(sound), "0", "300")
    assert len(said) == 300
    require_sentences(said)
    assert peak < MOST_MEGABYTES


@pytest.mark.cluster
def test_10_000_changed_files(sound: Path, tmp_path: Path) -> None:
    def half(first: int) -> tuple[list[str], int]:
        return outcomes(tmp_path / str(first), str(sound), str(first), str(first + 5000))

    with ThreadPoolExecutor(2) as both:
        for said, peak in both.map(half, (1000, 6000)):
            assert len(said) == 5000
            require_sentences(said)
            assert peak < MOST_MEGABYTES
