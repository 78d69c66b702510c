import io

import pytest
from rich.console import Console

from thyroid import progress


def test_without_a_terminal_lines_are_plain_and_rare(monkeypatch: pytest.MonkeyPatch) -> None:
    written = io.StringIO()
    now = [0.0]
    monkeypatch.setattr(progress, "console", Console(file=written, force_terminal=False))
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    with progress.bar("importing", "files") as advance:
        for done in range(1, 101):
            now[0] += 0.25
            advance(done, 100)
    lines = written.getvalue().splitlines()
    assert lines[0] == "importing: 40/100, 4.0 files/s, 15 s left"
    assert lines[1] == "importing: 80/100, 4.0 files/s, 5 s left"
    assert lines[-1].startswith("importing: 100/100")
    assert len(lines) == 3


def test_the_time_until_the_first_step_does_not_count(monkeypatch: pytest.MonkeyPatch) -> None:
    """Workers start during the first of 430 epochs; that took a minute, the others seconds."""
    written = io.StringIO()
    now = [0.0]
    monkeypatch.setattr(progress, "console", Console(file=written, force_terminal=False))
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    with progress.bar("training", "epochs") as advance:
        for done, second in ((1, 60.0), (40, 70.0)):
            now[0] = second
            advance(done, 430)
    first, second = written.getvalue().splitlines()
    assert first == "training: 1/430, 1.0 epochs/min"
    assert second == "training: 40/430, 0.6 epochs/s, 1 min 40 s left"


def test_what_takes_a_moment_says_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    written = io.StringIO()
    monkeypatch.setattr(progress, "console", Console(file=written, force_terminal=False))
    with progress.bar("importing", "files") as advance:
        advance(1, 1)
    assert written.getvalue() == ""


def test_on_a_terminal_there_is_a_bar(monkeypatch: pytest.MonkeyPatch) -> None:
    written = io.StringIO()
    monkeypatch.setattr(progress, "console", Console(file=written, force_terminal=True, width=100))
    with progress.bar("importing", "files") as advance:
        advance(50, 100)
    assert "importing" in written.getvalue()
    assert "50/100" in written.getvalue()


@pytest.mark.parametrize(
    ("seconds", "text"), [(5, "5 s"), (75, "1 min 15 s"), (7260, "2 h 01 min"), (0.2, "0 s")]
)
def test_durations_are_words(seconds: float, text: str) -> None:
    assert progress.duration(seconds) == text


def test_text_from_outside_is_no_markup(monkeypatch: pytest.MonkeyPatch) -> None:
    written = io.StringIO()
    monkeypatch.setattr(progress, "console", Console(file=written, force_terminal=False))
    progress.say("class [red]hot[/red]")
    assert written.getvalue() == "class [red]hot[/red]\n"
