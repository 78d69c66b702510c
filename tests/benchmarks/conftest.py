"""Measurements take as long as they take."""

from __future__ import annotations

import pytest


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """No time limit, but where a measurement has its own."""
    for item in items:
        if "benchmarks" in item.path.parts and item.get_closest_marker("timeout") is None:
            item.add_marker(pytest.mark.timeout(0))
