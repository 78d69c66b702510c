"""`thyroid --completion bash`: the shell completes commands, options and their choices.

tyro prints such scripts too, but they start Python at each tab and show help texts among the words.
"""

from __future__ import annotations

import typing
from collections.abc import Callable, Mapping
from typing import Any

from thyroid.commands.options import option_types

BASH = """\
_thyroid() {
    local command=${COMP_WORDS[1]} word=${COMP_WORDS[COMP_CWORD]} words=
    if [ "$COMP_CWORD" = 1 ]; then
        words="COMMANDS"
    else
        case "$command ${COMP_WORDS[COMP_CWORD - 1]}" in
CHOICES
        esac
    fi
    if [ -z "$words" ] && [[ $word == -* ]]; then
        case "$command" in
OPTIONS
        esac
    fi
    COMPREPLY=($(compgen -W "$words" -- "$word"))
}
complete -o default -F _thyroid thyroid
"""
"""Where no word fits, the shell completes names of files."""


def bash_script(commands: Mapping[str, Callable[..., None]]) -> str:
    """Return the script that completes the words of these commands."""
    types = {name: option_types(command) for name, command in commands.items()}
    choices = [
        _case(f'"{name} {option}"', typing.get_args(kind))
        for name, options in types.items()
        for option, kind in options.items()
        if typing.get_origin(kind) is typing.Literal
    ]
    options = [_case(name, ["--help", *_words(options)]) for name, options in types.items()]
    script = BASH.replace("COMMANDS", " ".join([*commands, "--help", "--version", "--completion"]))
    return script.replace("CHOICES", "\n".join(choices)).replace("OPTIONS", "\n".join(options))


def _case(pattern: str, words: typing.Iterable[object]) -> str:
    return f'            {pattern}) words="{" ".join(map(str, words))}" ;;'


def _words(options: Mapping[str, Any]) -> list[str]:
    """Return the options as they are typed, with --no-NAME for each that is on or off."""
    off = [option.replace("--", "--no-", 1) for option, kind in options.items() if kind is bool]
    return [*options, *off]
