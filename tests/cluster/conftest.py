"""Hosts with a Ray cluster on them."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from tests.cluster import hosts


@pytest.fixture(scope="session")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[hosts.Cluster]:
    """A laptop, a head and two workers, after `ray up` with cluster/onprem.yaml."""
    if os.geteuid() != 0:
        pytest.skip("hosts are network namespaces, which only root may make")
    with hosts.cluster(tmp_path_factory.mktemp("hosts")) as made:
        made.up()
        yield made
