"""RUN/race.json: a written file is read, and a damaged one is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from thyroid.errors import InputError
from thyroid.run_files.race_json import FILE, RacedRecipe, read_race, write_race

GIVEN = RacedRecipe(
    trial=None,
    folds=3,
    seeds=1,
    macro_f1=0.8125,
    standard_error=0.03,
    behind=0.01,
    behind_error=0.02,
    state="chosen",
)
OTHER = RacedRecipe(
    trial=4,
    folds=1,
    seeds=1,
    macro_f1=0.5,
    standard_error=None,
    behind=0.25,
    behind_error=None,
    state="dropped",
)


def test_what_is_written_is_read_in_its_order(tmp_path: Path) -> None:
    write_race(tmp_path, [GIVEN, OTHER])
    assert read_race(tmp_path) == [GIVEN, OTHER]
    plain = json.loads((tmp_path / FILE).read_text())["raced"]
    assert [row["trial"] for row in plain] == [None, 4]
    assert plain[1]["standard_error"] is None


def test_without_a_race_there_is_no_file(tmp_path: Path) -> None:
    assert read_race(tmp_path) == []
    write_race(tmp_path, [])
    write_race(tmp_path, [GIVEN])
    write_race(tmp_path, [])  # an earlier command's
    assert not (tmp_path / FILE).exists()


@pytest.mark.parametrize(
    "change", [{"state": "won"}, {"folds": "3"}, {"macro_f1": None}, {"behind": float("nan")}, None]
)
def test_damage_is_refused_with_what_to_do(change: dict[str, Any] | None, tmp_path: Path) -> None:
    write_race(tmp_path, [GIVEN])
    content = json.loads((tmp_path / FILE).read_text())
    if change is None:
        del content["raced"][0]["behind"]
    else:
        content["raced"][0] |= change
    (tmp_path / FILE).write_text(json.dumps(content))
    with pytest.raises(InputError, match=r"race\.json is damaged: run `thyroid search` again"):
        read_race(tmp_path)
