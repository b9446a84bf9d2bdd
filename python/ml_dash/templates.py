"""Templates in folders and prefixes: "{RUN.name}", "{EXP.id}", "{now:%Y-%m-%d}"."""

from __future__ import annotations

import os
from collections.abc import Mapping

from .exceptions import InvalidInputError

TYPE_CHECKING = False  # typing is slow to import
if TYPE_CHECKING:
    from typing import Any


def text_of(path: str | os.PathLike[str] | None) -> str | None:
    """A path as text; anything else, also None, as it is."""
    return os.fspath(path) if isinstance(path, os.PathLike) else path


def expand(template: str | os.PathLike[str], values: Mapping[str, Any]) -> str:
    """Replaces each {key} or {key:format} by its value; "{{" and "}}" are braces.

    Only the keys of `values` exist: a template never reaches attributes of objects.
    Raises InvalidInputError for another key, and for a brace without its partner.
    """
    template = os.fspath(template)
    if "{" not in template and "}" not in template:
        return template
    parts: list[str] = []
    position = 0
    while position < len(template):
        char = template[position]
        if template[position : position + 2] in ("{{", "}}"):
            parts.append(char)
            position += 2
        elif char == "{":
            end = template.find("}", position)
            if end < 0:
                raise InvalidInputError(f"{template!r} has a '{{' without a '}}'")
            parts.append(_value(template, template[position + 1 : end], values))
            position = end + 1
        elif char == "}":
            raise InvalidInputError(f"{template!r} has a '}}' without a '{{'")
        else:
            parts.append(char)
            position += 1
    return "".join(parts)


def _value(template: str, field: str, values: Mapping[str, Any]) -> str:
    key, _, form = field.partition(":")
    if key not in values:
        known = ", ".join("{" + name + "}" for name in sorted(values))
        raise InvalidInputError(f"{template!r} asks for {{{key}}}; there are {known}")
    value = values[key]
    if callable(value):
        value = value()
    try:
        return format(value, form)
    except (TypeError, ValueError) as error:
        raise InvalidInputError(f"{template!r}: {{{field}}}: {error}") from None
