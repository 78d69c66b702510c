"""Converts configurations (frozen dataclasses) to plain data and back, and checks each value."""

from __future__ import annotations

import dataclasses
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


def dotted_fields(plain: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Map dotted names to nested values."""
    fields: dict[str, Any] = {}
    for name, value in plain.items():
        within = dotted_fields(value, f"{prefix}{name}.") if isinstance(value, dict) else None
        fields |= {f"{prefix}{name}": value} if within is None else within
    return fields


def from_json(kind: type[T], plain: Mapping[str, Any]) -> T:
    """Rebuild the configuration that `to_json` wrote.

    Raises
    ------
    InputError
        When a field is unknown or a value is out of range.
    """
    hints = _hints(kind)  # type: ignore[arg-type]  # a class is hashable
    unknown = sorted(set(plain) - set(hints))
    if unknown:
        raise InputError(
            f"{kind.__name__} has no field '{unknown[0]}': choose among {', '.join(sorted(hints))}."
        )
    values = {
        name: from_json(hints[name], value)
        if dataclasses.is_dataclass(hints[name])
        else _checked(hints[name], name, value)
        for name, value in plain.items()
    }
    return kind(**values)


@cache
def _hints(kind: Hashable) -> dict[str, Any]:
    return typing.get_type_hints(kind)


def require_within(section: str, config: object, **bounds: tuple[float, float]) -> None:
    """Check that fields lie within their bounds.

    Raises
    ------
    InputError
        When a field is below its lower or above its upper bound.
    """
    for name, (least, most) in bounds.items():
        value = getattr(config, name)
        if not least <= value <= most:
            raise InputError(f"{section}.{name} is {value} but must be from {least} to {most}.")


def _checked(hint: Any, name: str, value: Any) -> Any:
    """Return the value if it has the field's type; an int is accepted for a float."""
    choices = typing.get_args(hint)
    if typing.get_origin(hint) is Literal:
        fits = value in choices
        value = choices[choices.index(value)] if fits else value  # 2.0 becomes 2: one key
    else:
        kinds = choices or (hint,)  # X | None
        fits = any(
            isinstance(value, (int, float) if kind is float else kind)
            and not (isinstance(value, bool) and kind is not bool)
            for kind in kinds
        )
    if not fits:
        wanted = ", ".join(map(str, choices)) if choices else getattr(hint, "__name__", hint)
        raise InputError(f"The recipe's {name} is {value!r} but must be {wanted}.")
    is_real = float in (hint, *choices) and value is not None
    return float(value) if is_real else value  # 0 becomes 0.0: one key
