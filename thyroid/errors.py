"""What a user is told: sentences that say what was wrong, where, and what to do."""


class InputError(Exception):
    """Something about the user's input is wrong.

    The message is one sentence naming the file, row or value and what to do. The command line
    prints it to stderr without a traceback and exits with status 2.
    """


class StorageError(InputError):
    """A disk, a store or a data set cannot be used: no fault of a recipe, so a search stops."""


class StageFailed(Exception):
    """A stage cannot finish: it diverged, collapsed, lost its input. A search goes on without it.

    The message is one sentence. The command line prints it and exits with status 1.
    """


class Diverged(StageFailed):
    """The stage's own numbers came out wrong, and would again: the store remembers it."""


class TooLarge(StageFailed):
    """A stage needs more memory than there is, or its process ends as if it did."""


class Vanished(StageFailed):
    """An artifact that was there has gone or been damaged: what needs it is asked for again."""


class ProcessLost(StageFailed):
    """A stage's process was killed, or its machine is gone: hardly its recipe's fault."""
