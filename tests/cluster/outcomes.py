"""The outcome of a search without the columns that depend on time and place."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

SPENT = ["seconds", "compute", "computed", "reused_stages", "computed_stages"]
"""Columns of trials.csv that depend on what was computed, not on the results."""

Outcome = tuple[pd.DataFrame, bytes]
"""The trials, and the test predictions of the first seed."""


def outcome(run: Path) -> Outcome:
    """Read the outcome from a run's folder."""
    trials = pd.read_csv(run / "trials.csv").drop(columns=SPENT)
    return trials, (run / "predictions" / "test-seed0.csv").read_bytes()


def require_same(found: Outcome, wanted: Outcome) -> None:
    """Require equality to the last bit."""
    pd.testing.assert_frame_equal(found[0], wanted[0], check_exact=True)
    assert found[1] == wanted[1]
