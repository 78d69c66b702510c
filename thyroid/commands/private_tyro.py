"""tyro 1.0's private names that this project needs; tests/test_wrong_words.py guards them.

A wrong command line is reported in one sentence, like any other mistake, and not in tyro's box.
"""

from __future__ import annotations

import contextlib
import difflib
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from tyro import _errors

from thyroid.errors import InputError


@contextlib.contextmanager
def sentences(name: str, argv: Sequence[str], options: Mapping[str, Any]) -> Iterator[None]:
    """Raise InputError for every command line that tyro refuses within the block.

    Parameters
    ----------
    name : of the command
    argv : its words
    options : --NAME -> its type
    """

    def refuse(event: _errors.ParseErrorEvent) -> None:
        sentence = _unknown_option(argv, options) or _sentence(event, argv, options)
        if sentence is not None:
            raise InputError(f"{sentence}; see `thyroid {name} --help`.")

    with _errors.on_parse_error(refuse):
        yield


def _unknown_option(argv: Sequence[str], options: Mapping[str, Any]) -> str | None:
    """Name an option that does not exist; tyro may blame the words after it instead."""
    for word in argv:
        option = word.partition("=")[0].replace("_", "-")
        known = option in options or option.replace("--no-", "--", 1) in options
        if re.match("--?[a-z]", option) and not known:
            close = difflib.get_close_matches(option, list(options), n=1)
            meant = f" (is it {close[0]}?)" if close else ""
            return f"There is no option {word.partition('=')[0]}{meant}"
    return None


def _sentence(
    event: _errors.ParseErrorEvent, argv: Sequence[str], options: Mapping[str, Any]
) -> str | None:
    """Return a sentence on what is wrong; None for a kind of mistake that is not known here."""
    if isinstance(event, _errors.UnrecognizedArgs):
        return f"Unexpected argument '{event.tokens[0]}'"
    if isinstance(event, _errors.MissingArgs):
        missing = [_called(each.arg) for each in event.missing_arguments]
        return f"{' and '.join(missing)} {'is' if len(missing) == 1 else 'are'} missing"
    if isinstance(event, _errors.InvalidChoice):
        *others, last = event.choices
        choose = f"{', '.join(others)} or {last}" if others else last
        return f"{_called(event.argument)} '{event.value}' is unknown: choose {choose}"
    if isinstance(event, _errors.BadValue):
        return f"{_called(event.argument)} is missing its value"
    if isinstance(event, _errors.InstantiationFailure) and event.argument is not None:
        option = _called(event.argument)
        numbers: dict[Any, str] = {int: "a whole number", float: "a number"}
        wanted = numbers.get(options.get(option), "a value of the type in its help")
        return f"{option} is '{_value_of(option, argv)}' but must be {wanted}"
    return None


def _called(argument: Any) -> str:
    """Return --NAME for an option, and the name in the help for a positional argument."""
    name = (
        argument.lowered.metavar if argument.is_positional() else argument.lowered.name_or_flags[0]
    )
    return str(name)


def _value_of(option: str, argv: Sequence[str]) -> str:
    """Return the last value that was given for an option."""
    given = ""
    for index, word in enumerate(argv):
        named, equals, value = word.partition("=")
        if named.replace("_", "-") == option:
            given = value if equals else " ".join(argv[index + 1 : index + 2])
    return given
