"""The command line: which command, how its end is told. Nothing heavy is imported before that is
known, so that `thyroid --help` answers at once; the commands are in `thyroid.commands`.
"""

from __future__ import annotations

import contextlib
import functools
import importlib
import os
import signal
import sys
from collections.abc import Callable
from types import FrameType

from thyroid.errors import InputError, StageFailed

SUMMARIES = {
    "phantom": "simulate scintigrams: a data set, NM DICOM files or PNG pictures",
    "import": "read a folder of DICOM files or pictures into a data set",
    "inspect": "say what a data set holds and what is doubtful about it",
    "train": "train one recipe over several seeds and evaluate it",
    "search": "search recipes with Ray Tune and Optuna, then evaluate the best",
    "compare": "compare a recipe with other networks, and with itself less one part",
    "report": "write the HTML report of a run",
    "export": "make a calibrated model of a run's network",
    "pretrain": "train a network on simulated scintigrams, to start from",
    "recalibrate": "fit a model's calibration to labelled images of one's own",
    "predict": "say what scintigrams show, with a model that export made",
    "store": "say what a store of artifacts holds, verify it, make room in it",
    "cluster-files": "write the files with which Ray starts a cluster",
    "demo": "all of it on simulated scintigrams, in minutes",
}

WITH_RECIPE = ("train", "search", "compare")
"""Those whose options are a recipe's fields, too."""

HELP = """usage: thyroid COMMAND ...

Find out how to diagnose thyroid scintigrams from few labelled examples. Not for clinical use.

{commands}

`thyroid COMMAND --help` lists what a command takes. The same command again resumes.
"""


def main(argv: list[str] | None = None) -> int:
    """Run one command; its exit status: 0 done, 2 bad input, 1 a stage failed, 130 interrupted."""
    argv = sys.argv[1:] if argv is None else argv
    if not argv or argv[0] in ("-h", "--help"):
        commands = "\n".join(f"  {name:<15}{what}" for name, what in SUMMARIES.items())
        print(HELP.format(commands=commands), end="")
        return 0 if argv else 2
    if argv[0] == "--version":
        from thyroid import __version__

        print(f"thyroid {__version__}")
        return 0
    if argv[0] not in SUMMARIES:
        return _complain(f"There is no command '{argv[0]}': see `thyroid --help`.", 2)
    try:
        _interruptible()
        _run(argv[0], argv[1:])
    except InputError as mistake:
        return _complain(str(mistake), 2)
    except KeyboardInterrupt:
        _handle(signal.SIG_IGN)  # while the interpreter ends
        return _complain("Interrupted: the same command again continues.", 130)
    except OSError as refusal:
        where = f"{refusal.filename}: " if refusal.filename else ""
        return _complain(f"{where}{refusal.strerror or refusal}.", 2)
    except StageFailed as failure:
        return _complain(str(failure), 1)
    return 0


def _interruptible() -> None:
    """Ctrl-C, or a batch system's stop, interrupts once: nothing is left half-written.

    What comes while the command cleans up would end it in the middle of that, and leave processes
    behind: it is answered.
    """

    def first(number: int, frame: FrameType | None) -> None:
        _handle(again)
        raise KeyboardInterrupt

    def again(number: int, frame: FrameType | None) -> None:
        os.write(2, b"thyroid: stopping what still runs, some seconds...\n")

    _handle(first)


def _handle(handler: Callable[[int, FrameType | None], None] | signal.Handlers) -> None:
    """Set the handler of Ctrl-C and of a batch system's stop, in the main thread."""
    with contextlib.suppress(ValueError):
        for each in (signal.SIGINT, signal.SIGTERM):
            if signal.getsignal(each) != signal.SIG_IGN:  # as of a job in a script's background
                signal.signal(each, handler)


def _complain(sentence: str, status: int) -> int:
    print(f"thyroid: {sentence}", file=sys.stderr)
    return status


def _run(name: str, argv: list[str]) -> None:
    """Call the command with what its signature finds in `argv`."""
    import tyro

    from thyroid.commands.options import READ, base_recipe

    module = "import_" if name == "import" else name.replace("-", "_")
    command: Callable[..., None] = getattr(
        importlib.import_module(f"thyroid.commands.{module}"), module
    )
    if name in WITH_RECIPE:  # the recipe named gives the recipe's options their defaults
        command = functools.partial(command, fields=base_recipe(argv))
    with READ:
        tyro.cli(
            command,
            prog=f"thyroid {name}",
            args=argv,
            description=f"{SUMMARIES[name][0].upper()}{SUMMARIES[name][1:]}.",
        )


if __name__ == "__main__":
    sys.exit(main())
