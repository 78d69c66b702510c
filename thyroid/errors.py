"""The one exception that a user sees: a sentence saying what was wrong, where, what to do."""


class InputError(Exception):
    """Something about the user's input is wrong.

    The message is one sentence naming the file, row or value and what to do. The command line
    prints it to stderr without a traceback and exits with status 2.
    """
