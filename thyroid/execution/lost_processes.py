"""Stages whose process died: how often they run again, and the error that users see."""

from __future__ import annotations

import ray

from thyroid.errors import ProcessLost, TooLarge

RETRIES = 2
"""A stage whose process or node is lost runs again this many times."""

KILLED = (ray.exceptions.WorkerCrashedError, ray.exceptions.OutOfMemoryError)
"""Ray's errors for a process that was killed while its node stays alive; the second: by Ray's own
memory monitor."""


def too_large() -> TooLarge:
    """Return the error of a stage that was killed each time it ran."""
    return TooLarge(
        f"A stage's process was killed {RETRIES + 1} times, probably because it needs more memory "
        "than its machine has; the machine stayed alive."
    )


def stage_error(failure: ray.exceptions.RayError) -> Exception:
    """Return the error that a stage or the scheduler raised, without Ray's wrapper around it."""
    if isinstance(failure, ray.exceptions.RayTaskError):
        cause: Exception = failure.cause
        return cause
    if isinstance(failure, KILLED):
        return too_large()
    return ProcessLost(f"A stage's process ended; run the same command again: {failure}")
