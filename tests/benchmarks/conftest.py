"""Measurements have no time limit."""

from __future__ import annotations

import pytest


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Remove the time limit, except from measurements that set their own."""
    for item in items:
        if "benchmarks" in item.path.parts and item.get_closest_marker("timeout") is None:
            item.add_marker(pytest.mark.timeout(0))
