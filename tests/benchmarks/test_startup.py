"""How soon the command line answers."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from pytest_benchmark.fixture import BenchmarkFixture


def test_help_answers_within_300_ms(benchmark: BenchmarkFixture) -> None:
    thyroid = Path(sys.executable).with_name("thyroid")

    def ask() -> None:
        subprocess.run([thyroid, "--help"], check=True, stdout=subprocess.DEVNULL)

    benchmark.pedantic(ask, rounds=10, warmup_rounds=1)
    assert benchmark.stats.stats.median <= 0.3
