"""After Ctrl-C, once or repeatedly, the command finishes its clean-up."""

from __future__ import annotations

import signal
import subprocess
import sys

import pytest

COMMAND = """
import sys, time
import thyroid.cli as cli

def run(name, argv):
    try:
        print("at work", flush=True)
        time.sleep(60)
    finally:
        print("cleaning up", flush=True)
        began = time.monotonic()
        while time.monotonic() - began < 1:
            time.sleep(0.05)
        print("clean", flush=True)

cli._run = run
status = cli.main(["train", "data", "run"])
print("ending", flush=True)
time.sleep(1)
sys.exit(status)
"""


@pytest.mark.parametrize("first", [signal.SIGINT, signal.SIGTERM])
def test_a_second_interruption_does_not_cut_the_cleaning_up(first: signal.Signals) -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", COMMAND], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    for line, sent in (
        ("at work", first),
        ("cleaning up", signal.SIGINT),
        ("clean", None),
        ("ending", signal.SIGINT),
    ):
        assert process.stdout.readline().strip() == line
        if sent is not None:
            process.send_signal(sent)
    _, said = process.communicate(timeout=30)
    assert process.returncode == 130
    assert said.splitlines() == [
        "thyroid: still stopping, please wait some seconds...",
        "thyroid: Interrupted: run the same command again to continue.",
    ]
