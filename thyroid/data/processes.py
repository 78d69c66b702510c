"""Reading of files in several processes, each of which is `python -m thyroid.data.processes`.

A process receives files as lines of JSON on its standard input, and answers each with a reading.
Processes are not forked, as the importing process may have threads. No patient's name is on a
command line or in a file. A process ends when its input ends, and so when the importing process
ends.
"""

import contextlib
import dataclasses
import json
import os
import signal
import subprocess
import sys
from collections import deque
from collections.abc import Generator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from queue import SimpleQueue

from thyroid.data.labels import LabelledFile
from thyroid.data.record import Reading, pack, read_image, unpack
from thyroid.errors import ProcessLost

LENGTH = 4  # bytes that give the length of an answer
AT_ONCE = 16  # files that a process receives at a time
# -P: modules in the working folder, such as a stranger's numpy.py, are not imported
COMMAND = (sys.executable, "-P", "-m", "thyroid.data.processes")


def read_images(
    files: Sequence[LabelledFile], *, size: int, pixel_mm: float, processes: int
) -> Generator[Reading, None, None]:
    """Yield the readings of files in this order; closing the generator ends its processes.

    Raises
    ------
    ProcessLost : a process was killed.
    """
    if processes < 2:
        yield from (read_image(file, size=size, pixel_mm=pixel_mm) for file in files)
        return
    readers: list[subprocess.Popen[bytes]] = []
    idle: SimpleQueue[subprocess.Popen[bytes]] = SimpleQueue()
    threads = ThreadPoolExecutor(processes)  # each thread waits for the answers of a process
    try:
        for _ in range(processes):
            readers.append(_started(size, pixel_mm))
            idle.put(readers[-1])
        asked: deque[Future[list[Reading]]] = deque()
        for start in range(0, len(files), AT_ONCE):
            asked.append(threads.submit(_ask, idle, files[start : start + AT_ONCE]))
            if len(asked) > 3 * processes:
                yield from asked.popleft().result()
        while asked:
            yield from asked.popleft().result()
    finally:
        for reader in readers:
            reader.kill()
        threads.shutdown(cancel_futures=True)
        for reader in readers:
            with contextlib.suppress(BrokenPipeError):  # it ended before it read its input
                reader.communicate()


def _started(size: int, pixel_mm: float) -> subprocess.Popen[bytes]:
    # its own session: Ctrl-C reaches only the importing process, which ends this one
    reader = subprocess.Popen(
        COMMAND, stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True
    )
    _tell(reader, {"size": size, "pixel_mm": pixel_mm})
    return reader


def _tell(reader: subprocess.Popen[bytes], what: object) -> None:
    assert reader.stdin is not None
    with contextlib.suppress(BrokenPipeError):  # the missing answer is noticed
        reader.stdin.write(json.dumps(what).encode() + b"\n")
        reader.stdin.flush()


def _ask(
    idle: SimpleQueue[subprocess.Popen[bytes]], files: Sequence[LabelledFile]
) -> list[Reading]:
    """Have the next idle process read these files, and return the readings."""
    reader = idle.get()
    questions = [dataclasses.asdict(file) | {"path": str(file.path)} for file in files]
    answers = []
    try:
        _tell(reader, questions[0])
        for number, file in enumerate(files):
            if number + 1 < len(files):  # one file ahead, so that the process never waits
                _tell(reader, questions[number + 1])
            answers.append(_answer(reader, file))
    finally:
        idle.put(reader)
    return answers


def _answer(reader: subprocess.Popen[bytes], file: LabelledFile) -> Reading:
    assert reader.stdout is not None
    length = int.from_bytes(reader.stdout.read(LENGTH), "big")
    content = reader.stdout.read(length)
    if length and len(content) == length:
        return unpack(content)
    status = reader.wait()
    how = f"ended ({status})"
    if status < 0:
        how = f"was killed ({signal.Signals(-status).name}), perhaps for lack of memory"
    raise ProcessLost(
        f"The process that read {file.name!r} {how}: run the same command again, which continues; "
        "if it happens again, leave this file out."
    )


def main() -> None:
    """Answer until the input ends."""
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # decoders in C may print
    settings = json.loads(sys.stdin.buffer.readline())
    for line in sys.stdin.buffer:
        fields = json.loads(line)
        fields |= {"path": Path(fields["path"]), "findings": tuple(fields["findings"])}
        content = pack(read_image(LabelledFile(**fields), **settings))
        answers.write(len(content).to_bytes(LENGTH, "big") + content)
        answers.flush()


if __name__ == "__main__":
    with contextlib.suppress(BrokenPipeError, KeyboardInterrupt):
        main()
