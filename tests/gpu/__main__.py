"""Checks that need a machine with a GPU: `python -m tests.gpu`.

Under 10 minutes on one GPU. Prints Markdown for GPU.md; the exit status is 1 if something failed.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import torch

from tests.gpu.speed import classifier_rates, dcgan_rates
from tests.toy import write_toy

SECONDS = 600
"""Time limit of all parts together; a part that has not ended by then counts as failed."""
THYROID = (sys.executable, "-m", "thyroid.cli")
SHORT = ("--schedule.constant-epochs", "9", "--schedule.decay-epochs", "5")
DEMO = (
    *(*SHORT, "--label-filter.constant-epochs", "8", "--label-filter.decay-epochs", "4"),
    *("--dcgan.epochs", "3", "--srgan.pixel-epochs", "1", "--srgan.adversarial-epochs", "1"),
)
"""`thyroid demo`'s lengths."""
ALONE = ("--mixing.synthetic-share", "0", "--mixing.final-share", "0", "--folds", "1")


class Machine:
    """Runs commands in a new folder until the time is up."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.ends = time.monotonic() + SECONDS
        self.failed = False

    def run(self, *command: str) -> tuple[str, float]:
        """Run a command; return the end of its output, and its seconds."""
        began = time.monotonic()
        try:
            done = subprocess.run(
                command,
                env=os.environ | {"RAY_USAGE_STATS_ENABLED": "0"},
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                timeout=max(1.0, self.ends - began),
            )
            failed, said = done.returncode != 0, done.stdout
        except subprocess.TimeoutExpired as late:
            so_far = late.stdout.decode() if isinstance(late.stdout, bytes) else ""
            failed, said = True, f"{so_far}\nThe {SECONDS} s are over."
        lines = said.strip().splitlines()
        if failed:
            self.failed = True
            print("\n".join(["FAILED:", "```", *lines[-40:], "```"]), flush=True)
        return "\n".join(lines[-3:]), time.monotonic() - began


def tests(on: Machine) -> Iterator[str]:
    """tests/stages/test_gpu.py: same bits, 10 + 10 = 20, no waiting, CUDA graphs, NCCL."""
    said, seconds = on.run(
        *(sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "--durations=0"),
        *(str(Path(__file__).parents[1] / "stages" / "test_gpu.py"), "-rs"),
    )
    yield f"`tests/stages/test_gpu.py` in {seconds:.0f} s:\n\n```\n{said}\n```"


def speed(_: Machine) -> Iterator[str]:
    """Images per second of a stage's epochs, and of bare steps on a prepared batch."""
    yield "| at 128 px | images/s | bare steps | share |\n|---|---|---|---|"
    for name, rate, bare in (classifier_rates("fp32"), classifier_rates("bf16"), dcgan_rates()):
        yield f"| {name} | {rate:.0f} | {bare:.0f} | {rate / bare:.2f} |"


def shared(on: Machine) -> Iterator[str]:
    """Two trainings that each hold a fraction of the GPU, and the same two one after the other."""
    data = write_toy(on.folder / "toy", images=600, size=64).folder
    for share, how in (("0.5", "side by side"), ("1", "one after the other")):
        _, seconds = on.run(
            *(*THYROID, "train", str(data), str(on.folder / f"share-{share}")),
            *(*SHORT, *ALONE, "--seeds", "2", "--gpus-per-worker", share, "--address", "local"),
        )
        yield f"- Two trainings {how} (`--gpus-per-worker {share}`): {seconds:.0f} s."
    one, two = (
        {path.name: path.read_bytes() for path in (on.folder / run / "predictions").glob("*.csv")}
        for run in ("share-0.5", "share-1")
    )
    same = one == two and len(one) > 0
    on.failed |= not same
    yield f"- Their predictions are {'the same, bit for bit' if same else 'NOT the same'}."


def search(on: Machine) -> Iterator[str]:
    """The demonstration's search, two stages on the GPU at once."""
    data = on.folder / "phantom"
    on.run(
        *(*THYROID, "phantom", str(data), "--images-per-class", "40", "--images-per-cross", "10")
    )
    said, seconds = on.run(
        *(*THYROID, "search", str(data), str(on.folder / "search"), "--space", "demo"),
        *("--trials", "5", "--folds", "3", "--gpus-per-worker", "0.5", *DEMO),
    )
    yield f"`make demo`'s search, `--gpus-per-worker 0.5`, in {seconds:.0f} s:\n\n```\n{said}\n```"


def main() -> int:
    """Run all parts, and print their results."""
    if not torch.cuda.is_available():
        print("There is no GPU that torch can use here: run this on a machine that has one.")
        return 1
    gpus = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
    print(f"### {', '.join(gpus)}\n\ntorch {torch.__version__}, CUDA {torch.version.cuda}\n")
    parts: Sequence[Callable[[Machine], Iterator[str]]] = (tests, speed, shared, search)
    with tempfile.TemporaryDirectory() as folder:
        on = Machine(Path(folder))
        for part in parts:
            try:
                for line in part(on):
                    print(line, flush=True)
            except Exception as failure:  # the other parts still have results
                on.failed = True
                print(f"FAILED: {type(failure).__name__}: {failure}")
            print(flush=True)
    print("Something failed, see above." if on.failed else "All passed.")
    return int(on.failed)


if __name__ == "__main__":
    sys.exit(main())
