"""Node-hours and stage-hours on the page."""

import json
import re

import pytest

from tests.reports.made_searches import add_costs, add_stages
from tests.reports.test_report import read
from thyroid.errors import InputError


def text(html: str) -> str:
    """Text of the section, without its markup."""
    section = html[html.index('id="usage-title"') : html.index('id="data-title"')]
    return " ".join(re.sub(r"<[^>]*>", "", section).replace("\N{NO-BREAK SPACE}", " ").split())


def test_hours_are_summed_and_compared_with_what_was_there(run):
    html, info = read(add_costs(run))
    costs = info["usage"]
    assert [row["purpose"] for row in costs["purposes"]] == ["search", "final"]
    assert costs["all"]["hours"] == 2
    assert costs["all"]["node_hours"] == 4
    assert costs["all"]["processor_share"] == pytest.approx(6 / 24)
    assert costs["purposes"][0]["gpu_share"] == costs["all"]["gpu_share"] == pytest.approx(3.5 / 4)
    assert costs["budget"] is None
    shown = text(html)
    assert "available for 4.000 node-hours, of which 2.000 were on nodes with GPUs." in shown
    assert "Stages held 12.000 processor-hours, 25 % of what the nodes had." in shown
    assert "They held 7.000 GPU-hours, 88 % of what the nodes had." in shown
    assert "The search was limited" not in shown
    assert "Seconds of each kind of stage" not in shown  # stages.json is not there yet


def test_without_a_gpu_there_is_no_share_of_gpus(run):
    html, info = read(add_stages(add_costs(run, gpus=False)))
    assert info["usage"]["all"]["gpu_share"] is None
    assert "its nodes, none of them with a GPU, were available for 4.000 node-hours" in text(html)
    assert "They held" not in text(html)
    assert "Seconds of each kind of stage" in html


@pytest.mark.parametrize(
    ("limits", "sentences"),
    [
        (
            {"time_hours": 1.25, "ended": "time_hours"},
            "The search was limited to 1.250 hours for each command. It ended because its time was",
        ),
        (
            {"gpu_hours": 4.375, "ended": "gpu_hours"},
            "The search was limited to 4.375 GPU-hours in all. It ended because its GPU-hours were",
        ),
        (
            {"time_hours": 2.0, "gpu_hours": 9.0},
            "The search was limited to 2.000 hours for each command, and 9.000 GPU-hours in all. "
            "It ended before a limit was reached.",
        ),
    ],
)
def test_what_ended_a_search_is_said(run, limits, sentences):
    html, info = read(add_costs(run, **limits))
    assert sentences in text(html)
    assert info["usage"]["budget"]["ended"] == limits.get("ended")


@pytest.mark.parametrize(
    ("name", "damage"), [("hours", -1.0), ("gpu_hours", None), ("purpose", "lunch"), ("hours", "1")]
)
def test_hours_that_are_none_are_refused(run, name, damage):
    path = add_costs(run) / "usage.json"
    costs = json.loads(path.read_text())
    costs["purposes"][0][name] = damage
    path.write_text(json.dumps(costs))
    with pytest.raises(InputError, match=r"usage.json is damaged: delete it"):
        read(run)
