"""Errors whose messages are sentences for users: what was wrong, where, and what to do."""


class InputError(Exception):
    """The user's input is wrong.

    The message is one sentence with the file, row or value and what to do. The command line
    prints it to stderr without a traceback and exits with status 2.
    """


class PackageMissing(InputError):
    """An optional package is not installed. The message names the extra that installs it."""


class StorageError(InputError):
    """A disk, store or data set cannot be used. The recipe is not at fault, so a search stops."""


class StageFailed(Exception):
    """A stage failed: it diverged, collapsed, or lost its input. A search goes on without it.

    The message is one sentence. The command line prints it and exits with status 1.
    """


class Diverged(StageFailed):
    """The stage diverged and would do so again, so the store records the failure."""


class TooLarge(StageFailed):
    """A stage needs more memory than there is, or its process ended as if that were the reason."""


class Vanished(StageFailed):
    """An artifact has disappeared or is damaged; it is computed again."""


class ProcessLost(StageFailed):
    """A stage's process was killed, or its machine is gone; the recipe is probably not at fault."""
