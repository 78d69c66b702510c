"""Ray starts despite a long TMPDIR, no home, foreign folders, proxies and a low limit on open
files.
"""

from __future__ import annotations

import os
import resource
from collections.abc import Iterator
from pathlib import Path

import pytest

from thyroid.errors import InputError
from thyroid.execution import connection, ray_needs
from thyroid.execution.ray_needs import IN_A_SESSION, LONGEST_SOCKET, lacking, prepare

NAMES = ("RAY_TMPDIR", "TMPDIR", "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH", "RAY_AUTH_MODE")
PROXIES = ("no_proxy", "NO_PROXY")


@pytest.fixture(autouse=True)
def places(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Path]:
    """Change the environment during the test; give the folder that replaces /tmp."""
    for name in (*NAMES, *PROXIES):
        monkeypatch.setenv(name, "")  # so that it is restored
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path))
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    short = Path("/tmp") / f"thyroid-{os.getpid()}"
    short.mkdir()
    monkeypatch.setattr(ray_needs, "OTHERS", (short,))
    yield short
    resource.setrlimit(resource.RLIMIT_NOFILE, limits)
    for path in sorted(short.rglob("*"), reverse=True):
        path.rmdir() if path.is_dir() else path.unlink()
    short.rmdir()


def place() -> Path:
    prepare()
    return Path(os.environ["RAY_TMPDIR"])


@pytest.mark.parametrize("name", ["TMPDIR", "RAY_TMPDIR"])
def test_rays_own_choice_stays_where_it_works(
    name: str, places: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv(name, str(places))
    assert place() == places
    assert capsys.readouterr().err == ""
    assert (places / "ray").stat().st_mode & 0o777 == 0o777


@pytest.mark.parametrize("name", ["TMPDIR", "RAY_TMPDIR"])
@pytest.mark.parametrize("kind", ["long", "missing", "file", "foreign"])
def test_a_folder_that_cannot_hold_its_sockets_is_told_and_another_is_taken(
    kind: str,
    name: str,
    places: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    given = places / "a"
    if kind == "long":
        given = tmp_path / ("x" * 63)
        given.mkdir()
    elif kind == "file":
        given.write_text("")
    elif kind == "foreign":
        (given / "ray").mkdir(parents=True)
        monkeypatch.setattr(ray_needs.tempfile, "TemporaryDirectory", _refusing(given / "ray"))
    monkeypatch.setenv(name, str(given))
    found = place()
    assert found == Path("/tmp")
    assert len(os.fsencode(found)) + len(IN_A_SESSION) <= LONGEST_SOCKET
    told = capsys.readouterr().err
    assert told.startswith(f"Ray's files go to {found / 'ray'}: {name} {given} ")
    assert ("too long" in told) == (kind == "long")


def test_a_full_disk_is_left_for_another(places: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (places / "full").mkdir()
    monkeypatch.setenv("TMPDIR", str(places / "full"))
    own = ray_needs.shutil.disk_usage
    full = type("usage", (), {"free": 4096})
    monkeypatch.setattr(
        ray_needs.shutil, "disk_usage", lambda of: full if "full" in str(of) else own(of)
    )
    assert place() == Path("/tmp")


def _refusing(folder: Path) -> object:
    own = ray_needs.tempfile.TemporaryDirectory

    def made(dir: Path) -> object:
        if dir == folder:
            raise PermissionError(13, "Permission denied")
        return own(dir=dir)

    return made


def test_another_users_tmp_ray_is_left_for_a_folder_of_ones_own(
    places: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ray_needs.tempfile, "TemporaryDirectory", _refusing(Path("/tmp/ray")))
    found = place()
    assert found == places / ray_needs.OWN
    assert found.stat().st_mode & 0o777 == 0o700
    monkeypatch.setattr(ray_needs, "_mine", lambda _: False)  # someone else was there before
    monkeypatch.delenv("RAY_TMPDIR")
    with pytest.raises(InputError, match=r"no place for its sockets: /tmp .* set RAY_TMPDIR to a"):
        prepare()


def test_without_a_home_the_token_is_in_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    prepare()
    assert "RAY_AUTH_TOKEN" not in os.environ  # Ray keeps its own at home
    assert not (tmp_path / ".ray" / "auth_token").exists()
    monkeypatch.setenv("HOME", "/proc")
    prepare()
    token = os.environ["RAY_AUTH_TOKEN"]
    assert len(token) == 64
    prepare()
    assert os.environ["RAY_AUTH_TOKEN"] == token
    monkeypatch.delenv("RAY_AUTH_TOKEN")
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    prepare()
    assert "RAY_AUTH_TOKEN" not in os.environ


def test_a_token_that_is_there_is_kept(tmp_path: Path) -> None:
    (tmp_path / ".ray").mkdir()
    (tmp_path / ".ray" / "auth_token").write_text("secret")
    prepare()
    assert (tmp_path / ".ray" / "auth_token").read_text() == "secret"
    assert "RAY_AUTH_TOKEN" not in os.environ


def test_rays_processes_reach_each_other_beside_a_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("no_proxy", "example.org")
    monkeypatch.setenv("NO_PROXY", "*")
    prepare()
    prepare()
    assert os.environ["no_proxy"] == "example.org,127.0.0.1,localhost"
    assert os.environ["NO_PROXY"] == "*"


def test_as_many_files_as_allowed_may_be_open_and_too_few_are_told(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(os, "getloadavg", lambda: (0.5, 0.5, 0.5))
    monkeypatch.setattr(ray_needs, "free_memory", lambda: 10**11)
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (256, hard))
    os.environ["RAY_TMPDIR"] = "/tmp"
    assert "Ray may open only 256 files: raise the limit (`ulimit -n 1024`)" in lacking()
    prepare()
    assert resource.getrlimit(resource.RLIMIT_NOFILE)[0] == min(hard, ray_needs.OPEN_FILES)


def test_without_shared_memory_objects_are_in_files(
    places: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert prepare() == {}
    monkeypatch.setattr(ray_needs, "SHARED_MEMORY", tmp_path / "none")
    monkeypatch.setenv("RAY_TMPDIR", str(places))
    assert prepare()["_plasma_directory"] == str(places)


@pytest.mark.parametrize(
    ("lack", "sentence"),
    [
        ("disk", "the disk of /tmp is full: free space there, or set RAY_TMPDIR"),
        ("memory", "0.2 GB of memory are free: end other programs"),
        ("processors", "99 processes share 2 processors .* when the machine is less busy"),
        ("nothing", "/tmp/ray/session_latest/logs has the reason"),
    ],
)
def test_the_advice_fits_its_cause(
    lack: str, sentence: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    os.environ["RAY_TMPDIR"] = "/tmp"
    free = 10**6 if lack == "disk" else 10**12
    usage = type("usage", (), {"free": free})
    monkeypatch.setattr(ray_needs.shutil, "disk_usage", lambda _: usage)
    memory = 2 * 10**8 if lack == "memory" else 10**11
    monkeypatch.setattr(ray_needs, "free_memory", lambda: memory)
    monkeypatch.setattr(ray_needs, "cores", lambda: 2)
    load = 99.0 if lack == "processors" else 0.5
    monkeypatch.setattr(os, "getloadavg", lambda: (load, load, load))
    with pytest.raises(InputError, match=sentence):
        raise InputError(lacking())


def test_a_start_that_was_too_slow_is_tried_once_more_and_leaves_no_process(
    places: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    started: list[int] = []

    def init(**_: object) -> None:
        pid = os.posix_spawn("/bin/sleep", ["sleep", "60"], {})
        started.append(pid)
        if len(started) < 2:
            raise Exception("The current node timed out during startup.")

    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setenv("RAY_TMPDIR", str(places))
    monkeypatch.setattr(connection.ray, "is_initialized", lambda: False)
    monkeypatch.setattr(connection.ray, "init", init)
    with connection.connected("local"):
        pass
    assert "starting Ray on this machine\n" in capsys.readouterr().err
    first, second = started
    with pytest.raises(ProcessLookupError):
        os.kill(first, 0)
    os.kill(second, 9)
    os.waitpid(second, 0)
