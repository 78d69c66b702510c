"""Two workers train like one, with the same losses and weights up to rounding. They use gloo,
without Ray.
"""

from __future__ import annotations

import copy
import dataclasses
import json
import shutil
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
import torch.distributed as dist
from safetensors.torch import load_file
from torch import Tensor, nn

from tests.toy import made, toy_generators, toy_recipe, where, without_times, write_toy
from thyroid import pipeline, stage
from thyroid.data.dataset import Dataset
from thyroid.errors import InputError
from thyroid.execution.in_process import artifacts, reread
from thyroid.networks import batch_statistics
from thyroid.networks.batch_statistics import share_statistics
from thyroid.stage import Stage
from thyroid.storage.store import Store

PUBLISHED = {"dcgan__normalisation": "batch", "dcgan__loss": "non_saturating"}
GANS = {"dcgan__segment_epochs": 2, "mixing__synthetic_share": 0.0}
SRGAN = {"srgan__adversarial_epochs": 2, "srgan__segment_epochs": 2}


class Job(NamedTuple):
    """A stage to be computed by two workers, and the folder in which one worker has computed it."""

    stage: Stage
    inputs: Mapping[str, Path]
    alone: Path
    together: Path
    continued: Path
    """Artifact of two workers that go on after the first epoch of `together`."""


def stages(dataset: Path) -> dict[str, Stage]:
    digest = Dataset.open(dataset).digest
    whole = {
        "schedule__segment_epochs": 9,
        "schedule__warmup_epochs": 0,
        "schedule__decay_epochs": 2,
    }
    return {
        "classifier": pipeline.classifier(
            toy_recipe(augmentation__thinning=0.5, **whole), digest, 0
        )[-1],
        "dcgan": pipeline.dcgan(toy_generators(**GANS), digest, 0)[-1],
        "published dcgan": pipeline.dcgan(toy_generators(**GANS, **PUBLISHED), digest, 0)[-1],
        "srgan": pipeline.srgan(toy_generators(**SRGAN), digest, 0)[-1],
    }


@pytest.fixture(scope="module")
def jobs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Job]:
    root = tmp_path_factory.mktemp("workers")
    dataset = write_toy(root / "data", crosses=24).folder
    store = Store(root / "store")
    found = {}
    for name, final in stages(dataset).items():
        alone, _ = made(final, dataset, store.root)
        together, continued = root / name, root / f"{name}, continued"
        together.mkdir()
        inputs = artifacts(final, store, where(dataset))
        found[name] = Job(final, inputs, alone, together, continued)
    torch.multiprocessing.start_processes(
        work, (root / "meeting", list(found.values())), nprocs=2, start_method="forkserver"
    )
    return found


def work(rank: int, meeting: Path, jobs: list[Job]) -> None:
    """Act as one of two workers."""
    torch.set_num_threads(1)
    dist.init_process_group("gloo", f"file://{meeting}", rank=rank, world_size=2)
    for job in jobs:
        function, config = job.stage.function(), job.stage.config
        execution = dataclasses.replace(config.execution, workers=2)
        config = dataclasses.replace(config, execution=execution)
        fit = function(config, job.inputs, job.together)
        metrics = [next(fit)]
        if rank == 0:
            shutil.copytree(job.together, job.continued)
        metrics += fit
        rest = dataclasses.replace(
            config, first_epoch=config.first_epoch + 1, epochs=config.epochs - 1
        )
        dist.barrier()
        assert list(function(rest, {**job.inputs, "previous": job.continued}, job.continued))
        if rank == 0:
            (job.together / "metrics.json").write_text(json.dumps(metrics))
    dist.destroy_process_group()


@pytest.mark.parametrize("name", ["classifier", "dcgan", "published dcgan", "srgan"])
def test_two_workers_train_as_one_does(name: str, jobs: dict[str, Job]) -> None:
    job = jobs[name]
    alone = without_times(list(reread(job.alone)))
    together = without_times(json.loads((job.together / "metrics.json").read_text()))
    assert len(alone) == len(together) > 0
    for one, two in zip(alone, together, strict=True):
        for key, value in two.items():
            near = value if isinstance(value, str) else pytest.approx(value, rel=1e-4, abs=1e-5)
            assert one[key] == near, key
    files = sorted(job.together.glob("*.safetensors"))
    assert {file.name for file in files} == {f.name for f in job.alone.glob("*.safetensors")}
    for file in files:
        one, two = load_file(job.alone / file.name), load_file(file)
        assert one.keys() == two.keys()
        for key, tensor in one.items():
            torch.testing.assert_close(two[key], tensor, atol=1e-5, rtol=1e-4, msg=key)


@pytest.mark.parametrize("name", ["classifier", "dcgan", "published dcgan", "srgan"])
def test_two_workers_go_on_after_the_first_epoch(name: str, jobs: dict[str, Job]) -> None:
    job = jobs[name]
    files = sorted(job.together.glob("*.safetensors"))
    assert {file.name for file in files} == {f.name for f in job.continued.glob("*.safetensors")}
    for file in files:
        assert file.read_bytes() == (job.continued / file.name).read_bytes(), file.name


def layers() -> Iterator[tuple[str, nn.Module, tuple[int, ...]]]:
    yield "2d", nn.BatchNorm2d(3), (4, 3, 5, 6)
    yield "1d", nn.BatchNorm1d(3), (4, 3)
    yield "without gain", nn.BatchNorm2d(3, affine=False), (4, 3, 5, 6)
    yield "mean of all batches", nn.BatchNorm2d(3, momentum=None), (4, 3, 5, 6)
    timm = pytest.importorskip("timm.layers")
    yield "timm's", timm.BatchNormAct2d(3), (4, 3, 5, 6)


@pytest.mark.parametrize("name", [name for name, _, _ in layers()])
def test_shared_statistics_are_those_of_all_workers_images(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The other worker's images are this one's, turned upside down."""
    layer, shape = next((layer, shape) for other, layer, shape in layers() if other == name)
    own = torch.randn(shape, generator=torch.Generator().manual_seed(0)) * 3 + 100
    other = own.flip(-1) + 1.0
    plain, shared = copy.deepcopy(layer), copy.deepcopy(layer)
    variance, mean = torch.var_mean(other, [0, *range(2, other.ndim)], correction=0)
    moments = torch.stack([mean, variance])
    monkeypatch.setattr(batch_statistics, "gather", lambda mine: torch.cat([mine, moments[None]]))
    share_statistics(shared)
    assert isinstance(shared, type(plain))
    for _ in range(2):
        expected = plain(torch.cat([own, other]))[: len(own)]
        torch.testing.assert_close(shared(own), expected, atol=1e-4, rtol=1e-4)
    for key, tensor in plain.state_dict().items():
        torch.testing.assert_close(shared.state_dict()[key], tensor, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(shared.eval()(own), plain.eval()(own))


def test_a_compiled_network_gathers_outside_its_graphs(monkeypatch: pytest.MonkeyPatch) -> None:
    graphs: list[str] = []

    def kept(graph: torch.fx.GraphModule, inputs: list[Tensor]) -> Callable[..., Any]:
        graphs.append(graph.code)
        return graph.forward

    monkeypatch.setattr(batch_statistics, "gather", lambda mine: mine.neg().neg())
    layer = nn.BatchNorm2d(3)
    own = torch.randn(4, 3, 5, 6)
    expected = copy.deepcopy(layer)(own)
    share_statistics(layer)
    torch.testing.assert_close(torch.compile(layer, backend=kept)(own), expected)
    assert any("var_mean" in code for code in graphs)
    assert not any("neg" in code for code in graphs)


def test_statistics_that_cannot_be_shared_are_a_sentence() -> None:
    class Own(nn.BatchNorm2d):
        def forward(self, x: Tensor) -> Tensor:
            return x

    with pytest.raises(InputError, match=r"Own computes.*set execution.workers to 1"):
        share_statistics(nn.Sequential(nn.Conv2d(1, 2, 3), Own(2)))


def test_what_several_workers_and_gpus_compute_has_keys_of_its_own() -> None:
    """Raising `SHARED` or `CUDA` changes no key of one worker on a processor."""

    def key(**execution: Any) -> str:
        changes = {f"execution__{name}": value for name, value in execution.items()}
        return pipeline.classifier(toy_recipe(**changes), "d" * 64, 0)[-1].key

    def all_keys() -> list[str]:
        return [key(), key(workers=2), key(device="cuda")]

    before = all_keys()
    assert len(set(before)) == 3
    with pytest.MonkeyPatch.context() as changed:
        changed.setattr(stage, "SHARED", 99)
        changed.setattr(stage, "CUDA", 99)
        after = all_keys()
    assert [one == other for one, other in zip(before, after, strict=True)] == [True, False, False]
