"""A Ray that a command starts is accessible to this user on this machine only, and sends no data
out.
"""

from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import pytest

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(180)]

ROOT = Path(__file__).parents[2]
LISTENING = "0A"


@pytest.fixture(scope="module")
def seen(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Output of `look` in a process without Ray's variables and without a home folder."""
    home = tmp_path_factory.mktemp("home")
    (home / ".ray").mkdir()
    plain = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    done = subprocess.run(
        [sys.executable, "-c", "from tests.security.test_ray import look; look()"],
        env={**plain, "PYTHONPATH": str(ROOT), "HOME": str(home)},
        start_new_session=True,
        capture_output=True,
        text=True,
        umask=0o022,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    told: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return told


def look() -> None:
    """Start Ray as a command does, use it, and return what others can see of it."""
    import ray

    from thyroid.execution.connection import connected

    with connected(cpus=2):
        assert ray.get(ray.remote(lambda: 5).remote()) == 5
        url = "http://" + ray._private.worker.global_worker.node.address_info["webui_url"]
        token = Path.home() / ".ray" / "auth_token"
        told = {
            "listening": sorted(listening()),
            "mode": stat.S_IMODE(token.stat().st_mode),
            "stranger": answer(f"{url}/api/version"),
            "owner": answer(f"{url}/api/version", token.read_text()),
            "usage": answer(f"{url}/usage_stats_enabled", token.read_text()),
        }
    print(json.dumps(told))


def answer(url: str, token: str | None = None) -> tuple[int, str]:
    """Status and body."""
    headers = {} if token is None else {"Authorization": f"Bearer {token}"}
    try:
        with urllib.request.urlopen(urllib.request.Request(url, headers=headers)) as response:
            return response.status, response.read().decode()
    except urllib.error.HTTPError as refusal:
        return refusal.code, ""


def listening() -> Iterator[tuple[str, str]]:
    """Address and process of each listening TCP socket of this session."""
    owner: dict[str, str] = {}
    for process in filter(str.isdigit, os.listdir("/proc")):
        try:
            if os.getsid(int(process)) != os.getsid(0):
                continue
            name = Path(f"/proc/{process}/cmdline").read_bytes().replace(b"\0", b" ").decode()
            for file in os.listdir(f"/proc/{process}/fd"):
                owner[os.readlink(f"/proc/{process}/fd/{file}")] = name
        except OSError:  # it ended
            continue
    for table in ("tcp", "tcp6"):
        for line in Path(f"/proc/net/{table}").read_text().splitlines()[1:]:
            _, local, _, state, *_, inode = line.split()[:10]
            if state == LISTENING and f"socket:[{inode}]" in owner:
                # words of 32 bits in the order of this machine's bytes
                words = bytes.fromhex(local.partition(":")[0])
                packed = b"".join(words[i : i + 4][::-1] for i in range(0, len(words), 4))
                yield str(ip_address(packed)), owner[f"socket:[{inode}]"]


def test_nobody_else_can_call(seen: dict[str, Any]) -> None:
    names = " ".join(name for _, name in seen["listening"])
    for process in ("gcs_server", "raylet", "dashboard", "ray::"):
        assert process in names, "it listens"
    for address, name in seen["listening"]:
        own = ip_address(address)
        mapped = getattr(own, "ipv4_mapped", None) or own
        assert mapped.is_loopback, f"{name} listens on {address}"


def test_another_user_of_this_machine_needs_the_token(seen: dict[str, Any]) -> None:
    assert seen["stranger"][0] == 401
    assert seen["owner"][0] == 200
    assert seen["mode"] == 0o600


def test_no_usage_statistics_are_sent(seen: dict[str, Any]) -> None:
    status, body = seen["usage"]
    assert status == 200
    assert json.loads(body)["data"]["usageStatsEnabled"] is False
