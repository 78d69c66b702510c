"""config.json is read as it was written, also by earlier versions; a damaged one is refused."""

from __future__ import annotations

import dataclasses
import json
import re
from pathlib import Path
from typing import Any

import pytest

from reports.report import write_report
from tests.reports.made_runs import make_dataset, make_run
from tests.stub_config import stub_comparison, stub_config, stub_search
from thyroid.data.dataset import DatasetInfo
from thyroid.errors import InputError
from thyroid.run_files.config_json import (
    Doses,
    RecordedDataset,
    SearchSettings,
    read_config,
    write_config,
)
from thyroid.tuning.search_config import SearchConfig


def names(record: Any) -> list[str]:
    return [field.name for field in dataclasses.fields(record)]


def test_what_is_written_is_read(tmp_path: Path) -> None:
    dose = Doses(shares=(0.5,), generators=("eigen",), sizes=(20, None))
    for config in (
        stub_config(id="a", seeds=(0, 1), search=stub_search(warm_start=("old",), gpu_hours=2.5)),
        stub_config(searched=3, comparison=stub_comparison(dose=dose)),
        stub_config(recipe={"network": {"weights": None}}, machine={"cores": 2}),
    ):
        write_config(tmp_path, config)
        assert read_config(tmp_path) == config
        assert json.loads((tmp_path / "recipe.json").read_text()) == config.recipe


def test_the_fields_of_a_data_set_and_of_a_search_are_those_that_these_have() -> None:
    assert names(RecordedDataset)[1:-3] == names(DatasetInfo)
    assert names(SearchSettings)[2:-1] == names(SearchConfig)


def test_a_run_of_an_earlier_version_has_a_report(tmp_path: Path) -> None:
    """Missing fields get the values that were fixed at that time, and fields that are unknown now
    are ignored.
    """
    dataset = make_dataset(tmp_path / "data")
    run = make_run(tmp_path / "run", dataset, trials=3)
    config = json.loads((run / "config.json").read_text())
    for section, absent in {
        "dataset": ("patients_key",),
        "search": ("space_sha256", "objectives", "first_folds", "max_seeds", "storage"),
    }.items():
        for name in absent:
            del config[section][name]
    for name in ("id", "test_set", "searched", "comparison"):
        del config[name]
    config["search"]["objective"] = config["recipe"]["network"]["depth"] = "of then"
    config["notes"] = {"any": "thing"}
    (run / "config.json").write_text(json.dumps(config))
    read = read_config(run)
    assert read.search is not None
    assert (read.search.objectives, read.search.first_folds) == (("macro_f1",), 1)
    assert (read.searched, read.test_set, read.id) == (None, None, "")
    assert "3 trials have ended" in re.sub(r"<[^>]+>", "", write_report(run).read_text())
    told = json.loads((run / "report.json").read_text())
    assert told["provenance"]["recipe"]["network.depth"] == "of then"


@pytest.mark.parametrize(
    ("section", "name", "value"),
    [
        ("dataset", "classes", ["a", 2]),
        ("dataset", "digest", None),
        ("search", "trials", "16"),
        ("search", "base", None),
    ],
)
def test_what_is_damaged_is_one_sentence(
    tmp_path: Path, section: str, name: str, value: object
) -> None:
    write_config(tmp_path, stub_config(search=stub_search()))
    config = json.loads((tmp_path / "config.json").read_text())
    config[section][name] = value
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(InputError, match=r"config\.json cannot be read: it is damaged"):
        read_config(tmp_path)
