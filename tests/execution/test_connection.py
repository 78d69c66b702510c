"""Interruptions while Ray starts, and after its start."""

from __future__ import annotations

import inspect
import signal
from typing import Any

import pytest
import ray
from ray._private import ray_constants, services

from thyroid.errors import InputError
from thyroid.execution.connection import connected
from thyroid.execution.private_ray import on_loopback


def test_rays_private_switch_still_decides_on_which_address_it_listens() -> None:
    """Settings of Ray that a new version is likely to break; tests/security/test_ray.py tests a
    whole Ray.
    """
    before = ray_constants.ENABLE_RAY_CLUSTER
    assert "ENABLE_RAY_CLUSTER" in inspect.getsource(services.get_node_ip_address)
    with on_loopback():
        assert ray_constants.ENABLE_RAY_CLUSTER is False
    assert ray_constants.ENABLE_RAY_CLUSTER is before


def test_a_ray_that_does_not_start_is_a_sentence_with_its_reason(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def init(**given: Any) -> None:
        raise Exception("The current node timed out\nduring startup.")

    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    monkeypatch.setattr(ray, "init", init)
    for address, sentence in (
        (None, r"did not start on this machine \(The current node timed out during startup\): "),
        ("127.0.0.1:1", r"No Ray cluster answers at '127.0.0.1:1' \(.*Connection refused\): "),
        ("head", "--address 'head' is no address: write HOST:PORT, auto or local"),
        ("head:70000", "--address 'head:70000' is no address"),
    ):
        with pytest.raises(InputError, match=sentence), connected(address):
            pass


@pytest.mark.parametrize(("stopped", "fails"), [(True, False), (True, True), (False, False)])
def test_ray_starts_as_a_whole_and_leaves_sigterm_to_its_owner(
    stopped: bool, fails: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    done = []

    def init(**given: Any) -> None:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)  # as Ray does
        for _ in range(2 if stopped else 0):
            signal.raise_signal(signal.SIGINT)
        done.append("started")
        if fails:  # one of its processes was interrupted, too
            raise RuntimeError("no dashboard")

    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    monkeypatch.setattr(ray, "init", init)
    monkeypatch.setattr(ray, "shutdown", lambda: done.append("shut down"))
    numbers = (signal.SIGINT, signal.SIGTERM)
    own = [signal.signal(number, signal.default_int_handler) for number in numbers]

    def use() -> None:
        with connected():
            done.append("used")
            signal.raise_signal(signal.SIGTERM)

    try:
        with pytest.raises(KeyboardInterrupt):
            use()
    finally:
        for number, handler in zip(numbers, own, strict=True):
            signal.signal(number, handler)
    assert done == ["started", *([] if stopped else ["used"]), "shut down"]


@pytest.mark.parametrize("by_environment", [False, True])
def test_an_address_of_ray_client_is_refused(
    monkeypatch: pytest.MonkeyPatch, by_environment: bool
) -> None:
    def refuse(**_: object) -> None:
        raise AssertionError("Ray was asked")

    monkeypatch.setattr(ray, "init", refuse)
    address = "ray://head:10001"
    if by_environment:
        monkeypatch.setenv("RAY_ADDRESS", address)
    with (
        pytest.raises(InputError, match=r"'ray://head:10001' is .* with `ray submit` or `ray job"),
        connected(None if by_environment else address),
    ):
        pytest.fail("connected")
