"""The command line: finds the command, runs it, and reports how it ended.

Nothing slow is imported before the command is known, so that `thyroid --help` answers at once; the
commands are in `thyroid.commands`.
"""

from __future__ import annotations

import contextlib
import difflib
import functools
import importlib
import io
import os
import select
import signal
import sys
from collections.abc import Callable
from types import FrameType
from typing import Any, TextIO

from thyroid.errors import InputError, StageFailed

SUMMARIES = {
    "phantom": "simulate scintigrams: a data set, NM DICOM files or PNG pictures",
    "import": "read a folder of DICOM files or pictures into a data set",
    "inspect": "show what a data set holds and what is doubtful about it",
    "train": "train one recipe in several folds or with several seeds, and evaluate it",
    "search": "search for a better recipe with Ray Tune and Optuna, then evaluate it",
    "compare": "compare a recipe with other networks, and with itself without one part",
    "report": "write the HTML report of a run",
    "export": "make a calibrated model from the networks of a run",
    "pretrain": "train a network on simulated scintigrams, as a starting point for others",
    "recalibrate": "fit a model's calibration to your own labelled images",
    "predict": "predict what scintigrams show, with a model that export made",
    "store": "list, verify or prune a store of artifacts",
    "cluster-files": "write the files with which Ray starts a cluster",
    "demo": "run all of this on simulated scintigrams, in minutes",
}

WITH_RECIPE = ("train", "search", "compare")
"""Commands whose options include a recipe's fields."""

HELP = """usage: thyroid COMMAND ...

Find out how to diagnose thyroid scintigrams from few labelled examples. Not for clinical use.

{commands}

`thyroid COMMAND --help` lists the options of a command.
Running the same command again continues where it stopped.
`eval "$(thyroid --completion bash)"` lets bash complete commands and options.
`thyroid --version` prints the version.
"""


READER_GONE = 141
"""Exit status if nobody reads the output any more, as after `| head`; shells use it for SIGPIPE."""


def main(argv: list[str] | None = None) -> int:
    """Run one command and return its exit status: 0 done, 1 a stage failed, 2 bad input, 130
    interrupted.
    """
    if isinstance(sys.stdout, io.TextIOWrapper):  # class names may not be ASCII
        sys.stdout.reconfigure(errors="backslashreplace")
    try:
        try:
            return _answer(sys.argv[1:] if argv is None else argv)
        finally:
            if sys.stdout is not None:  # None if the caller closed it
                sys.stdout.flush()
    except BrokenPipeError:
        _to_nowhere(sys.stdout)
        return READER_GONE
    except OSError as refusal:
        _to_nowhere(sys.stdout)
        return _complain(f"Cannot write the results: {refusal.strerror or refusal}.", 2)


def _to_nowhere(stream: TextIO) -> None:
    """Discard all further output of a stream that refuses it, also what the interpreter writes at
    its end.
    """
    with contextlib.suppress(OSError), open(os.devnull, "wb") as nowhere:
        os.dup2(nowhere.fileno(), stream.fileno())


def _answer(argv: list[str]) -> int:
    if not argv or argv[0] in ("-h", "--help"):
        commands = "\n".join(f"  {name:<15}{what}" for name, what in SUMMARIES.items())
        print(HELP.format(commands=commands), end="")
        return 0 if argv else 2
    if argv[0] == "--version":
        from thyroid import __version__

        print(f"thyroid {__version__}")
        return 0
    if argv[0] == "--completion":
        if argv[1:] != ["bash"]:
            return _complain("Completion is for bash: `thyroid --completion bash`.", 2)
        from thyroid.commands.completion import bash_script

        print(bash_script({name: _command(name) for name in SUMMARIES}), end="")
        return 0
    if argv[0] not in SUMMARIES:
        close = difflib.get_close_matches(argv[0], SUMMARIES, n=1)
        meant = f" (is it {close[0]}?)" if close else ""
        return _complain(f"There is no command '{argv[0]}'{meant}: see `thyroid --help`.", 2)
    try:
        _interruptible()
        _run(argv[0], argv[1:])
    except InputError as mistake:
        return _complain(str(mistake), 2)
    except KeyboardInterrupt:
        _handle(signal.SIG_IGN)  # while the interpreter ends
        return _complain("Interrupted: run the same command again to continue.", 130)
    except OSError as refusal:
        if isinstance(refusal, BrokenPipeError) and _reader_gone():
            raise
        where = f"{refusal.filename}: " if refusal.filename else ""
        return _complain(f"{where}{refusal.strerror or refusal}.", 2)
    except StageFailed as failure:
        return _complain(str(failure), 1)
    return 0


def _reader_gone() -> bool:
    """Return True if nobody reads the output any more."""
    look = select.poll()
    with contextlib.suppress(OSError):
        look.register(sys.stdout.fileno(), select.POLLOUT)
        return any(found & select.POLLERR for _, found in look.poll(0))
    return False


def _interruptible() -> None:
    """Make Ctrl-C, or the stop signal of a batch system, interrupt the command only once.

    The command then cleans up, so that nothing is left half-written. A second signal would
    interrupt the clean-up and leave processes behind, so it only prints a message.
    """

    def first(number: int, frame: FrameType | None) -> None:
        _handle(again)
        raise KeyboardInterrupt

    def again(number: int, frame: FrameType | None) -> None:
        os.write(2, b"thyroid: still stopping, please wait some seconds...\n")

    _handle(first)


def _handle(handler: Callable[[int, FrameType | None], None] | signal.Handlers) -> None:
    """Set the handler of Ctrl-C and of a batch system's stop, in the main thread."""
    with contextlib.suppress(ValueError):
        for each in (signal.SIGINT, signal.SIGTERM):
            if signal.getsignal(each) != signal.SIG_IGN:  # ignored by background jobs of a script
                signal.signal(each, handler)


def _complain(sentence: str, status: int) -> int:
    print(f"thyroid: {sentence}", file=sys.stderr)
    return status


def _command(name: str) -> Callable[..., None]:
    module = "import_" if name == "import" else name.replace("-", "_")
    found: Callable[..., None] = getattr(
        importlib.import_module(f"thyroid.commands.{module}"), module
    )
    return found


def _run(name: str, argv: list[str]) -> None:
    """Call the command with the arguments that its signature finds in `argv`."""
    import tyro

    from thyroid.bounds import require_options
    from thyroid.commands.options import READ, base_recipe, option_types, require_paths
    from thyroid.commands.private_tyro import sentences

    command = _command(name)
    if "" in argv:
        raise InputError("An argument is empty: a variable of the shell may not be set.")
    options = option_types(command)

    @functools.wraps(command)
    def within_bounds(*given: Any, **asked: Any) -> None:
        require_options(asked)
        require_paths([*given, *asked.values()])
        command(*given, **asked)

    called: Callable[..., None] = within_bounds
    if name in WITH_RECIPE:  # the defaults of its options are those of the recipe
        called = functools.partial(within_bounds, fields=base_recipe(argv))
    with READ, sentences(name, argv, options):
        tyro.cli(
            called,
            prog=f"thyroid {name}",
            args=argv,
            description=f"{SUMMARIES[name][0].upper()}{SUMMARIES[name][1:]}.",
        )


if __name__ == "__main__":
    sys.exit(main())
