"""A laptop and the machines of a cluster, all on this machine: each is a set of namespaces with a
network address, processes, mounts and a name of its own, and an sshd. They have no other network.
The laptop's namespace has the network switch to which the others are connected. Nothing is left
when the processes have ended. Needs root.
"""

from __future__ import annotations

import contextlib
import os
import shlex
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

REPOSITORY = Path(__file__).parents[2]
BIN = Path(sys.prefix) / "bin"

HOME = "/mnt/home"
"""Home folder of root, which is another folder on each host."""
SHARED = "/mnt/thyroid"
"""A folder that all hosts see, as if it were on NFS."""
BUCKETS = "10.77.0.1:9000"
"""Address at which each host looks for buckets; a test starts `python -m tests.buckets` on the
head."""
HIDDEN = ("/tmp", "/mnt", "/run")
"""Folders that are different on each host."""

ALONE = ["setpriv", "--pdeathsig", "KILL", "unshare", "--fork", "--kill-child", "--mount-proc"]
ALONE += ["--net", "--pid", "--mount", "--uts"]
"""Beginning of a command line: runs the rest in new namespaces and ends it with its parent."""

BOOT = """
hostname $NAME
ip link set lo up
for file in passwd shadow hosts; do mount --bind $ROOT/etc/$file /etc/$file; done
mount -t tmpfs tmpfs /run
keep() { mkdir -p /run/kept/$1; mount --bind $2 /run/kept/$1; }
place() { mkdir -p $2; mount --move /run/kept/$1 $2; }
keep home $ROOT/home; keep shared $SHARED_FOLDER
for i in ${!KEPT[@]}; do keep $i ${KEPT[i]}; done
mount -t tmpfs tmpfs /mnt; mount -t tmpfs -o mode=1777 tmpfs /tmp
mount -t tmpfs -o mode=1777,size=8g tmpfs /dev/shm
place home $HOME; place shared $SHARED
for i in ${!KEPT[@]}; do place $i ${KEPT[i]}; done
mkdir /run/sshd
/usr/sbin/sshd -D -f /dev/null -h $HOME/.ssh/host_key -o UsePAM=no -o UseDNS=no \
    -o PasswordAuthentication=no -o StrictModes=no -o PidFile=none &
echo up
wait
"""
"""Script of a host's first process, for bash, because bash also reaps orphaned processes."""


class Host:
    """One machine.

    Parameters
    ----------
    name, address : those of the host in its network
    root : folder of the files that survive it: home/, etc/
    shared : the folder that it sees as SHARED
    lan : the host whose network has the switch; None for that host itself
    """

    def __init__(self, name: str, address: str, root: Path, shared: Path, lan: Host | None) -> None:
        self.name, self.address, self.home = name, address, root / "home"
        self._root, self._shared, self._lan = root, shared, lan
        self._process: subprocess.Popen[str] | None = None
        self._init = 0

    def start(self) -> None:
        """Switch it on; it ends with the thread that called this."""
        places = {str(path) for path in (REPOSITORY, sys.prefix, sys.base_prefix)}
        kept = [path for path in sorted(places) if path.startswith(HIDDEN)]
        settings = {
            "NAME": self.name,
            "ROOT": str(self._root),
            "SHARED_FOLDER": str(self._shared),
            "SHARED": SHARED,
            "HOME": HOME,
        }
        lines = [f"{name}={shlex.quote(value)}" for name, value in settings.items()]
        lines.append(f"KEPT=({shlex.join(kept)})")
        log = self._root / "boot.log"
        with log.open("w") as errors:
            self._process = subprocess.Popen(
                [*ALONE, "bash", "-ec", "\n".join(lines) + BOOT],
                env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin"},
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
            )
        assert self._process.stdout is not None
        assert self._process.stdout.readline(), f"{self.name}: {log.read_text()}"
        pid = self._process.pid
        self._init = int(Path(f"/proc/{pid}/task/{pid}/children").read_text())
        self._plug_in()

    def _plug_in(self) -> None:
        if self._lan is None:
            port = "lan"
            self._ip("link add lan type bridge")
        else:
            port = "eth0"
            peer = f"{self.name} netns {self._lan._init}"
            run(["ip", *f"link add {peer} type veth peer name eth0 netns {self._init}".split()])
            self._lan._ip(f"link set {self.name} master lan up")
        self._ip(f"addr add {self.address}/24 dev {port}")
        self._ip(f"link set {port} up")

    def _ip(self, words: str) -> None:
        run(["nsenter", "--target", str(self._init), "--net", "ip", *words.split()])

    def run(self, command: str, timeout_s: float = 120) -> str:
        """Run a command; return its output, as `Command.wait`."""
        return self.begin(command).wait(timeout_s)

    def begin(self, command: str) -> Command:
        """Start a command as if a person who has logged in did so."""
        enter = ["nsenter", "--target", str(self._init), "--all", "--"]
        path = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
        clean = ["env", "-i", f"HOME={HOME}", "USER=root", "LANG=C.UTF-8", path]
        line = f"cd; test ! -e .bashrc || source .bashrc; {command}"
        return Command([*enter, *clean, "bash", "--login", "-c", line])

    def kill(self) -> None:
        """Simulate a power cut: all processes end at once, and the files in home/ remain."""
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self._init or self._process.pid, signal.SIGKILL)
            self._process.wait()
            self._process, self._init = None, 0

    def disconnect(self) -> None:
        """Disconnect the host from the network."""
        assert self._lan is not None
        self._lan._ip(f"link set {self.name} down")

    def reconnect(self) -> None:
        """Connect the host to the network again."""
        assert self._lan is not None
        self._lan._ip(f"link set {self.name} up")


class Cluster:
    """The laptop, the head and the workers; Ray runs after a call of `up`."""

    def __init__(self, folder: Path, workers: int = 2) -> None:
        self.shared = folder / "shared"
        self.shared.mkdir()
        addresses = {"laptop": "10.77.0.254", "head": "10.77.0.1"}
        addresses |= {f"worker{i}": f"10.77.0.{i + 1}" for i in range(1, workers + 1)}
        key = folder / "key"
        for name in ("key", "host_key"):
            run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(folder / name)])
        self.hosts: list[Host] = []
        for name, address in addresses.items():
            furnish(folder / name, addresses, key, folder / "host_key", laptop=not self.hosts)
            lan = self.hosts[0] if self.hosts else None
            self.hosts.append(Host(name, address, folder / name, self.shared, lan))
        self.laptop, self.head, *self.workers = self.hosts

    def up(self) -> None:
        """Run `ray up` with cluster/onprem.yaml, without the parts that need other hosts."""
        self.laptop.run(f"umask 077; {BIN}/ray get-auth-token --generate")
        config = on_these(self, yaml.safe_load((REPOSITORY / "cluster/onprem.yaml").read_text()))
        (self.laptop.home / "cluster.yaml").write_text(yaml.safe_dump(config, sort_keys=False))
        self.ray("up", "-y", "--no-config-cache", self.file)

    file = f"{HOME}/cluster.yaml"
    """Path of the cluster file on the laptop."""

    def ray(self, *words: str, timeout_s: float = 240) -> str:
        """Run `ray ...` on the laptop in the repository; return its output."""
        return self.begin(*words).wait(timeout_s)

    def begin(self, *words: str) -> Command:
        """Start `ray ...` on the laptop in the repository."""
        command = shlex.join([f"{BIN}/ray", *words])
        return self.laptop.begin(f"cd {REPOSITORY} && RAY_AUTH_MODE=token {command}")


@contextlib.contextmanager
def cluster(folder: Path) -> Iterator[Cluster]:
    """Hosts that are switched on, and removed after the block. `folder` is empty."""
    made = Cluster(folder)
    try:
        for host in made.hosts:
            host.start()
        yield made
    finally:
        for host in reversed(made.hosts):
            host.kill()


def furnish(
    root: Path, addresses: dict[str, str], key: Path, host_key: Path, *, laptop: bool
) -> None:
    """Make a home whose owner can log in to all other hosts from the laptop and has the key of a
    bucket, and the files of /etc.
    """
    ssh, etc = root / "home" / ".ssh", root / "etc"
    ssh.mkdir(parents=True)
    etc.mkdir()
    copy(host_key, ssh / "host_key")
    copy(key.with_suffix(".pub"), ssh / "authorized_keys")
    if laptop:
        copy(key, ssh / "id_ed25519")
    settings = {
        "AWS_ENDPOINT_URL": f"http://{BUCKETS}",
        "AWS_ACCESS_KEY_ID": "nobody",
        "AWS_SECRET_ACCESS_KEY": "nothing",
        "AWS_DEFAULT_REGION": "us-east-1",
    }
    exports = "".join(f"export {name}={setting}\n" for name, setting in settings.items())
    (root / "home" / ".bashrc").write_text(exports)
    users = Path("/etc/passwd").read_text().splitlines()
    others = [line for line in users if not line.startswith("root:")]
    (etc / "passwd").write_text("\n".join([f"root:x:0:0:root:{HOME}:/bin/bash", *others]) + "\n")
    (etc / "shadow").write_text("root:*:20000:0:99999:7:::\n")
    known = {"localhost": "127.0.0.1"} | addresses
    (etc / "hosts").write_text("".join(f"{ip} {name}\n" for name, ip in known.items()))


def copy(source: Path, target: Path) -> None:
    """Copy a file so that only its owner can read it."""
    target.write_bytes(source.read_bytes())
    target.chmod(0o600)


def on_these(hosts: Cluster, config: dict[str, Any]) -> dict[str, Any]:
    """A cluster file for these hosts, with their addresses and with packages of this machine.

    The environment on each host has the working copy that was sent, and the packages that it needs
    from the environment of the tests.
    """
    make, install, *rest = config["setup_commands"]
    assert make.startswith("python3 -m venv")
    assert "pip install" in install
    site = next((Path(sys.prefix) / "lib").glob("python*/site-packages"))
    there = f"~/venv/lib/{site.parent.name}/site-packages"
    script = f'sed "1s|.*|#!$HOME/venv/bin/python|" {BIN}/$name > ~/venv/bin/$name'
    *stop, join = config["worker_start_ray_commands"]
    return config | {
        "provider": {
            "type": "local",
            "head_ip": hosts.head.address,
            "worker_ips": [worker.address for worker in hosts.workers],
        },
        "auth": {"ssh_user": "root", "ssh_private_key": f"{HOME}/.ssh/id_ed25519"},
        "setup_commands": [
            f"{BIN}/python -m venv --without-pip ~/venv",
            f"printf '%s\\n' ~/thyroid {site} > {there}/packages.pth",
            f"for name in ray thyroid; do {script}; chmod +x ~/venv/bin/$name; done",
            *rest,
        ],
        # One processor each, so that two stages at once are on two hosts
        "worker_start_ray_commands": [*stop, f"{join} --num-cpus=1"],
    }


class Command:
    """A running command. Its output goes to files, because an ssh process that remains would keep
    pipes open.
    """

    def __init__(self, words: list[str]) -> None:
        self._words = words
        self._files = [os.memfd_create(name) for name in ("printed", "errors")]
        printed, errors = self._files
        self._process = subprocess.Popen(
            words, stdin=subprocess.DEVNULL, stdout=printed, stderr=errors
        )

    def ended(self) -> bool:
        """Return True if the command has ended."""
        return self._process.poll() is not None

    def wait(self, timeout_s: float = 120) -> str:
        """Wait for the command's end and return its output. Call it once.

        Raises
        ------
        AssertionError
            When it fails or takes longer; the error has its output.
        """
        try:
            status: int | str = self._process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            self._process.kill()
            status = f"did not end in {timeout_s} s"
        printed, errors = map(content, self._files)
        assert status == 0, f"{shlex.join(self._words)}: {status}\n{printed}\n{errors}"
        return printed


def content(file: int) -> str:
    """Return the content of an open file, and close it."""
    with os.fdopen(file, "rb") as written:
        written.seek(0)
        return written.read().decode(errors="replace")


def run(words: list[str]) -> str:
    """Run a command; return its output."""
    return Command(words).wait()
