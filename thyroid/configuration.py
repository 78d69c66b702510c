"""Converts configurations (frozen dataclasses) to plain data and back, and checks each value."""

from __future__ import annotations

import dataclasses
import types
import typing
from collections.abc import Hashable, Mapping
from functools import cache
from typing import Any, Literal, TypeVar

from thyroid.errors import InputError

T = TypeVar("T")


def to_json(config: Any) -> dict[str, Any]:
    """Convert a configuration to nested plain dictionaries."""
    plain: dict[str, Any] = dataclasses.asdict(config)
    return plain


def added(default: T) -> T:
    """A field that was added to a configuration later.

    With its default it is left out of keys, so that stored artifacts keep their keys (`deciding`).
    """
    field: T = dataclasses.field(default=default, metadata={"added": True})
    return field


def deciding(config: Any) -> dict[str, Any]:
    """Convert a configuration as `to_json` does, without `added` fields that have their default."""
    plain: dict[str, Any] = dataclasses.asdict(config)
    for field in dataclasses.fields(config):
        value = getattr(config, field.name)
        if field.metadata.get("added") and value == field.default:
            del plain[field.name]
        elif dataclasses.is_dataclass(value):
            plain[field.name] = deciding(value)
    return plain


def dotted_fields(plain: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Map dotted names to nested values."""
    fields: dict[str, Any] = {}
    for name, value in plain.items():
        within = dotted_fields(value, f"{prefix}{name}.") if isinstance(value, dict) else None
        fields |= {f"{prefix}{name}": value} if within is None else within
    return fields


def from_json(kind: type[T], plain: Mapping[str, Any], *, known_only: bool = False) -> T:
    """Rebuild the configuration that `to_json` wrote.

    Parameters
    ----------
    known_only : leave out unknown fields, which another version wrote

    Raises
    ------
    InputError
        When a field is unknown or a value is out of range.
    """
    hints = _hints(kind)  # type: ignore[arg-type]  # a class is hashable
    unknown = sorted(set(plain) - set(hints))
    if known_only:
        plain = {name: plain[name] for name in plain if name in hints}
    elif unknown:
        raise InputError(
            f"{kind.__name__} has no field '{unknown[0]}': choose among {', '.join(sorted(hints))}."
        )
    return kind(
        **{name: _checked(hints[name], name, value, known_only) for name, value in plain.items()}
    )


@cache
def _hints(kind: Hashable) -> dict[str, Any]:
    return typing.get_type_hints(kind)


def _checked(hint: Any, name: str, value: Any, known_only: bool) -> Any:
    """Return the value if it has the field's type; an int is accepted for a float."""
    origin, within = typing.get_origin(hint), typing.get_args(hint)
    if hint is Any:
        return value
    if dataclasses.is_dataclass(hint):
        return from_json(hint, value, known_only=known_only)  # type: ignore[arg-type]  # a class
    if origin in (typing.Union, types.UnionType):  # X | None
        return None if value is None else _checked(within[0], name, value, known_only)
    if origin is tuple and isinstance(value, list | tuple):
        return tuple(_checked(within[0], name, each, known_only) for each in value)
    if origin is dict and isinstance(value, dict):
        return {key: _checked(within[1], name, each, known_only) for key, each in value.items()}
    if origin is Literal:
        fits = value in within
        value = within[within.index(value)] if fits else value  # 2.0 becomes 2: one key
    elif hint is float:
        fits = type(value) in (int, float)
        value = float(value) if fits else value  # 0 becomes 0.0: one key
    else:
        fits = type(value) is (origin or hint)
    if not fits:
        wanted = ", ".join(map(str, within)) if within else getattr(hint, "__name__", hint)
        raise InputError(f"The recipe's {name} is {value!r} but must be {wanted}.")
    return value
