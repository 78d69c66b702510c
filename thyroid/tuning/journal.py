"""The lines of a study's journal: damage by a file system is mended if nothing can be lost."""

from __future__ import annotations

import itertools
import json
from collections.abc import Generator
from pathlib import Path
from typing import Any

from optuna.storages.journal import JournalFileBackend

from thyroid.errors import InputError
from thyroid.files import replace_text
from thyroid.progress import say


def sound_lines(journal: Path) -> list[bytes]:
    """Return the lines of a journal without empty lines, without zero bytes (which a file server or
    a power cut may leave between lines) and without an unfinished last line.

    Raises
    ------
    InputError
        When a line is damaged in another way: its content is lost.
    """
    found = []
    for number, line in enumerate(journal.read_bytes().splitlines(keepends=True), start=1):
        content = line.strip(b"\0 \t\r\n")
        if not content or not line.endswith(b"\n"):
            continue
        if not _is_record(content):
            raise _damaged(journal, number)
        found.append(content + b"\n")
    return found


def mend(journal: Path) -> None:
    """Write a journal again as its `sound_lines`, if it differs; no other process may write to it.

    Raises
    ------
    InputError
        When a line is damaged in another way, or the file cannot be written.
    """
    lines = sound_lines(journal)
    before = journal.read_bytes()
    if b"".join(lines) == before.replace(b"\r\n", b"\n"):
        return
    replace_text(journal, b"".join(lines).decode())
    unfinished = before.rpartition(b"\n")[2].strip(b"\0")
    empty = before.count(b"\n") - len(lines)
    removed = [f"{empty} empty lines"] if empty else []
    removed += ["an unfinished last line"] if unfinished else []
    say(f"{journal} was repaired; removed: {' and '.join(removed) or 'zeros between its lines'}.")


class ReadOnlyJournal(JournalFileBackend):
    """A journal that may be damaged and that is only read."""

    def __init__(self, journal: Path) -> None:
        super().__init__(str(journal))
        self._journal = journal

    def read_logs(self, log_number_from: int) -> Generator[dict[str, Any], None, None]:
        """Yield the records, beginning with this number."""
        yield from itertools.islice(
            map(json.loads, sound_lines(self._journal)), log_number_from, None
        )


def _is_record(line: bytes) -> bool:
    try:
        record = json.loads(line)
    except (ValueError, RecursionError):
        return False
    return isinstance(record, dict) and "op_code" in record


def _damaged(journal: Path, number: int) -> InputError:
    if number == 1:
        return InputError(
            f"{journal} is not an Optuna journal: move it away or choose another folder."
        )
    return InputError(
        f"{journal}, line {number}, is damaged: restore a copy of the file, or keep the lines "
        f"before it (`head -n {number - 1} {journal} > kept; mv kept {journal}`): "
        "later trials then run again, with the stages that the store has."
    )
