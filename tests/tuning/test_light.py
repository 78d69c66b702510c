"""Waiting processes stay small."""

import subprocess
import sys


def test_drivers_and_the_scheduler_import_no_torch() -> None:
    program = (
        "import sys, thyroid.tuning.trial_driver; "
        "import thyroid.execution.stage_scheduler, tune_spaces.joint; "
        "sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", program], timeout=60).returncode == 0
