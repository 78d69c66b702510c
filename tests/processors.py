"""Tests of training results as if on other processors: how far is a result from its bound?

A short training is chaotic: a processor with other instructions rounds in another way and so trains
another network. This runs the tests marked `processors` with the instructions of each processor
that this one can imitate, in both precisions, with five seeds. For each result it prints the mean,
the standard deviation (SD) and the margin, which is the distance from the mean to the bound in SDs.
It fails if a test fails or a margin is below three.

    python -m tests.processors [pytest's arguments, such as tests/stages -k bicubic]
"""

from __future__ import annotations

import os
import subprocess
import sys
from itertools import product
from pathlib import Path
from tempfile import TemporaryDirectory

import pandas as pd

PROCESSORS = {
    "sse4_1": ("SSE41", "SSE4_2", "default"),
    "avx2": ("AVX2", "AVX2", "avx2"),
    "avx512f": ("AVX512_CORE", "AVX512", "avx512"),
    "avx512_bf16": ("AVX512_CORE_BF16", "AVX512", "avx512"),
    "amx_bf16": ("AVX512_CORE_AMX", "AVX512", "avx512"),
}
"""Instructions that the processor must have; limits for oneDNN, MKL and ATen."""
LIMITS = ("ONEDNN_MAX_CPU_ISA", "MKL_ENABLE_INSTRUCTIONS", "ATEN_CPU_CAPABILITY")
SEEDS = 5
LEAST_MARGIN = 3.0


def run(processor: str, precision: str, arguments: list[str], measures: Path) -> int:
    """Pytest's exit status; the results are added to `measures`."""
    pretended = dict(zip(LIMITS, PROCESSORS[processor], strict=True))
    pretended |= {"TOY_PRECISION": precision, "TOY_SEEDS": str(SEEDS), "MEASURES": str(measures)}
    chosen = ["-m", "processors and not cluster and not browser", "--durations=0", "--timeout=0"]
    command = [sys.executable, "-m", "pytest", *chosen, *arguments]
    return subprocess.run(command, env=os.environ | pretended, check=False).returncode


def margins(measures: pd.DataFrame) -> pd.DataFrame:
    """One row per result and precision, the smallest margin first."""
    by = measures.groupby(["test", "result", "precision"])
    found = by.agg(
        bound=("bound", "first"), n=("value", "size"), mean=("value", "mean"), sd=("value", "std")
    )
    up = by["above"].first()
    found["worst"] = by["value"].min().where(up, by["value"].max())
    room = (found["mean"] - found["bound"]).where(up, found["bound"] - found["mean"])
    found["margin"] = room / found["sd"]  # infinite where all are equal
    found["bound"] = up.map({True: "> ", False: "< "}) + found["bound"].map("{:.4g}".format)
    return found.sort_values("margin").reset_index()


def main(arguments: list[str]) -> int:
    flags = Path("/proc/cpuinfo").read_text().split()
    failed = []
    with TemporaryDirectory() as folder:
        measures = Path(folder) / "measures.jsonl"
        for processor, precision in product(PROCESSORS, ("fp32", "bf16")):
            if processor not in flags:
                print(f"{processor}: not here")
                continue
            print(f"\n{processor}, {precision}", flush=True)
            if run(processor, precision, arguments, measures):
                failed.append(f"{processor} {precision}")
        found = margins(pd.read_json(measures, lines=True))
    print(found.to_string(index=False, float_format="{:.4g}".format))
    narrow = int((found["margin"] < LEAST_MARGIN).sum())
    print(f"{narrow} of {len(found)} margins are under {LEAST_MARGIN:g} standard deviations.")
    print(f"Tests failed on: {', '.join(failed) or 'none'}.")
    return int(bool(narrow or failed))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
