"""The files of cluster/ are valid for Ray, and do what cluster/README.md says."""

from __future__ import annotations

import re
import subprocess
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
import yaml
from ray.autoscaler._private.kuberay.autoscaling_config import (
    _derive_autoscaling_config_from_ray_cr,
)
from ray.autoscaler._private.util import prepare_config, validate_config

from tests.cluster.hosts import REPOSITORY

CLUSTER = REPOSITORY / "cluster"
LAUNCHED = ("aws", "gcp", "onprem")
KUBERNETES = ("kubernetes", "kubernetes-job")


def launched(name: str) -> dict[str, Any]:
    """A file for Ray's cluster launcher, with the defaults that Ray adds."""
    config = yaml.safe_load((CLUSTER / f"{name}.yaml").read_text())
    validate_config(prepared := prepare_config(config))
    return prepared


def documents(name: str) -> dict[str, dict[str, Any]]:
    """Return the documents of a Kubernetes file, by kind."""
    found = yaml.safe_load_all((CLUSTER / f"{name}.yaml").read_text())
    return {document["kind"]: document for document in found}


def ray_cluster(name: str) -> dict[str, Any]:
    """The specification of the Ray cluster in a Kubernetes file."""
    found = documents(name)
    if "RayJob" in found:
        return found["RayJob"]["spec"]["rayClusterSpec"]
    return found["RayCluster"]["spec"]


def pods(name: str) -> dict[str, dict[str, Any]]:
    """Specifications of the pods of the head and of the workers."""
    spec = ray_cluster(name)
    (workers,) = spec["workerGroupSpecs"]
    groups = {"head": spec["headGroupSpec"], "worker": workers}
    return {role: group["template"]["spec"] for role, group in groups.items()}


def starts(config: dict[str, Any]) -> dict[str, str]:
    """The commands that start Ray on the head and on a worker."""
    return {role: config[f"{role}_start_ray_commands"][-1] for role in ("head", "worker")}


@pytest.mark.parametrize("name", ["aws", "gcp"])
def test_machines_come_and_go_head_without_gpu_and_workers_on_spot(name: str) -> None:
    config = launched(name)
    types = config["available_node_types"]
    head, worker = types[config["head_node_type"]], types["gpu"]
    assert head["resources"] == {"CPU": 0, "GPU": 0}
    assert head["max_workers"] == 0
    assert worker["resources"]["GPU"] == 1
    assert 0 < worker["min_workers"] < worker["max_workers"] <= config["max_workers"]
    assert config["idle_timeout_minutes"] == 10
    spot = {
        "aws": lambda node: node.get("InstanceMarketOptions", {}).get("MarketType") == "spot",
        "gcp": lambda node: node.get("scheduling", {}).get("provisioningModel") == "SPOT",
    }[name]
    assert spot(worker["node_config"])
    assert not spot(head["node_config"])


def test_ones_own_machines_are_all_used() -> None:
    config = launched("onprem")
    (machine,) = config["available_node_types"].values()
    assert machine["min_workers"] == machine["max_workers"] == len(config["provider"]["worker_ips"])
    assert any("nfs" in command for command in config["initialization_commands"])


@pytest.mark.parametrize("name", ["aws", "gcp"])
def test_the_bucket_is_reached_by_roles_that_differ(name: str) -> None:
    nodes = [each["node_config"] for each in launched(name)["available_node_types"].values()]
    field = {"aws": "IamInstanceProfile", "gcp": "serviceAccounts"}[name]
    head, worker = (node[field] for node in nodes)
    assert head != worker


@pytest.mark.parametrize("name", LAUNCHED)
def test_ray_starts_with_a_token_a_loopback_dashboard_and_no_statistics(name: str) -> None:
    config = launched(name)
    for command in starts(config).values():
        assert command.startswith("RAY_AUTH_MODE=token ")
        assert "--disable-usage-stats" in command
    head = starts(config)["head"]
    assert "--dashboard-host=127.0.0.1" in head
    assert "--num-cpus=0 --num-gpus=0" in head
    assert "--autoscaling-config=~/ray_bootstrap_config.yaml" in head
    assert config["file_mounts"]["~/.ray/auth_token"] == "~/.ray/auth_token"
    assert "RAY_AUTH_MODE=token RAY_USAGE_STATS_ENABLED=0" in config["setup_commands"][-1]


@pytest.mark.parametrize("name", LAUNCHED)
def test_what_is_sent_is_what_installing_needs_and_no_data(name: str) -> None:
    mounts = launched(name)["file_mounts"]
    sent = {Path(here) for there, here in mounts.items() if there.startswith("~/thyroid/")}
    packaged = {"thyroid", "tune_spaces", "reports"}
    files = {"pyproject.toml", "constraints.txt", "README.md", "LICENSE"}
    assert sent == {Path(each) for each in packaged | files}
    assert all((REPOSITORY / each).exists() for each in sent)
    assert {Path(there).name for there in mounts} == {each.name for each in sent} | {"auth_token"}


def test_launched_clusters_install_and_start_alike() -> None:
    first, *others = (launched(name) for name in LAUNCHED)
    for config in others:
        assert config["file_mounts"] == first["file_mounts"]
        assert config["setup_commands"] == first["setup_commands"]
        assert starts(config)["worker"] == starts(first)["worker"]
        head = starts(config)["head"].replace("RAY_enable_autoscaler_v2=0 ", "")
        assert head == starts(first)["head"]
    assert "-c ~/thyroid/constraints.txt" in first["setup_commands"][1]


@pytest.mark.parametrize("name", KUBERNETES)
def test_kuberay_scales_workers_with_a_gpu_on_spot(name: str) -> None:
    spec = ray_cluster(name)
    config = _derive_autoscaling_config_from_ray_cr(  # validates it
        {"metadata": {"name": "thyroid", "namespace": "default"}, "spec": spec}
    )
    head, worker = (config["available_node_types"][each] for each in ("headgroup", "gpu"))
    assert (head["resources"]["CPU"], head["resources"]["GPU"]) == (0, 0)
    assert worker["resources"]["GPU"] == 1
    assert 0 < worker["min_workers"] < worker["max_workers"]
    assert spec["enableInTreeAutoscaling"]
    assert config["idle_timeout_minutes"] == 10
    assert pods(name)["worker"]["nodeSelector"] == {"cloud.google.com/gke-spot": "true"}
    assert "nodeSelector" not in pods(name)["head"]


@pytest.mark.parametrize("name", KUBERNETES)
def test_kuberay_pods_share_a_volume_have_a_token_and_few_rights(name: str) -> None:
    spec = ray_cluster(name)
    assert spec["authOptions"] == {"mode": "token"}
    assert spec["headGroupSpec"]["serviceType"] == "ClusterIP"
    claim = documents("kubernetes")["PersistentVolumeClaim"]
    assert claim["spec"]["accessModes"] == ["ReadWriteMany"]
    for pod in pods(name).values():
        (container,) = pod["containers"]
        assert {"name": "RAY_USAGE_STATS_ENABLED", "value": "0"} in container["env"]
        assert container["securityContext"]["allowPrivilegeEscalation"] is False
        assert pod["securityContext"]["runAsNonRoot"] is True
        volumes = [volume.get("persistentVolumeClaim") for volume in pod["volumes"]]
        assert {"claimName": claim["metadata"]["name"]} in volumes
        assert {volume["name"] for volume in pod["volumes"]} == {
            mount["name"] for mount in container["volumeMounts"]
        }


def test_the_job_has_the_same_cluster_and_goes_when_it_is_done() -> None:
    assert ray_cluster("kubernetes-job") == ray_cluster("kubernetes")
    job = documents("kubernetes-job")["RayJob"]["spec"]
    assert job["shutdownAfterJobFinishes"]
    assert job["backoffLimit"] > 0
    command, dataset, run, *_ = job["entrypoint"].removeprefix("thyroid ").split()
    assert command == "search"
    assert dataset.startswith("/data/")
    assert run.startswith("/data/")
    assert "--store /data/" in job["entrypoint"]


def test_versions_are_those_of_the_constraints() -> None:
    pinned = dict(
        line.split("==") for line in (REPOSITORY / "constraints.txt").read_text().splitlines()
    )
    assert pinned["ray"] == version("ray")
    assert ray_cluster("kubernetes")["rayVersion"] == pinned["ray"]
    image = re.search(r"^FROM rayproject/ray:(\S+)-py3(\d+)$", dockerfile(), re.MULTILINE)
    assert image is not None
    assert image[1] == pinned["ray"]
    assert int(image[2]) >= 11  # pyproject.toml's requires-python
    assert "-c thyroid-source/constraints.txt" in dockerfile()


def test_the_image_holds_what_is_sent_elsewhere() -> None:
    mounts = launched("onprem")["file_mounts"]
    assert copied() == {here for there, here in mounts.items() if there.startswith("~/thyroid/")}


def dockerfile() -> str:
    """Return the Dockerfile of the image that the Kubernetes files name."""
    return (CLUSTER / "Dockerfile").read_text()


def copied() -> set[str]:
    """Return the files and folders of the working copy that are copied into the image."""
    lines = [line.split() for line in dockerfile().splitlines() if line.startswith("COPY")]
    return {word for words in lines for word in words[2:-1]}


@pytest.mark.parametrize(
    ("device", "status", "index"), [("gpu", 0, ""), ("cpu", 0, "cpu"), ("tpu", 1, None)]
)
def test_a_build_argument_chooses_torch(
    tmp_path: Path, device: str, status: int, index: str | None
) -> None:
    (_, command) = dockerfile().split("\nRUN ")
    pip = tmp_path / "pip"
    pip.write_text('#!/bin/sh\necho "${PIP_EXTRA_INDEX_URL##*/}" "$@"\n')
    pip.chmod(0o755)
    done = subprocess.run(
        ["sh", "-c", command],
        env={"PATH": f"{tmp_path}:/usr/bin:/bin", "DEVICE": device},
        capture_output=True,
        text=True,
    )
    assert done.returncode == status, done.stderr
    if index is not None:
        assert done.stdout.startswith(f"{index} install ")
    else:
        assert done.stderr == "DEVICE is gpu or cpu\n"
    assert "ARG DEVICE=gpu\n" in dockerfile()


def test_what_is_sent_to_the_build_is_what_the_image_copies() -> None:
    everything, *taken = (CLUSTER / "Dockerfile.dockerignore").read_text().split()
    assert everything == "*"
    assert {word[1:] for word in taken if word.startswith("!")} == copied()


SECRETS = (
    r"(AKIA|ASIA)[0-9A-Z]{16}",
    r"BEGIN [A-Z ]*PRIVATE KEY",
    r"(?i)(secret|password|passwd|api_key|access_key)\w*\s*[:=]\s*\S",
    r"RAY_AUTH_TOKEN\s*[:=]",
    r"\b[0-9a-f]{32,}\b",
)


@pytest.mark.parametrize("file", sorted(CLUSTER.glob("*.*")), ids=lambda file: file.name)
def test_no_file_holds_a_secret_or_opens_to_the_world(file: Path) -> None:
    text = file.read_text()
    for pattern in (*SECRETS, r"0\.0\.0\.0", "LoadBalancer", "NodePort"):
        assert re.search(pattern, text) is None, pattern


@pytest.mark.parametrize("name", [*LAUNCHED, *KUBERNETES])
def test_what_a_user_must_change_is_marked(name: str) -> None:
    lines = (CLUSTER / f"{name}.yaml").read_text().splitlines()
    assert 2 <= sum("# change" in line for line in lines) <= 12
    placeholders = r"192\.0\.2\.|example\.org|my-project|000000000000"
    for before, line in zip(["", *lines], lines, strict=False):
        if re.search(placeholders, line):
            assert "# change" in line + before, line
