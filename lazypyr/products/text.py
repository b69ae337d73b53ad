"""Products as text: a name, and its options after a colon."""

from __future__ import annotations

import re
from typing import Any

from lazypyr.errors import PlanError

__all__ = ["parsed_product"]

_OPTION = re.compile(r"\s*([A-Za-z_]\w*)\s*=\s*(.*?)\s*", re.DOTALL)
_WORDS = {"true": True, "false": False, "none": None, "nan": float("nan"), "inf": float("inf"), "-inf": -float("inf")}


def parsed_product(text: str) -> tuple[str, dict[str, Any]]:
    """Name and options of a product as command lines and URLs write it.

    Parameters
    ----------
    text : str
        ``"pca:n=3"``, ``"composite:bands=0,1,2;percentiles=2,98"``: numbers, true, false, none or words; several
        with commas between them are a tuple (of one: ``"0,"``), groups of them have "|" between (``"windows=0,1|0,2|0,3"``).
        ``"expression:"`` is followed by a formula.

    Returns
    -------
    name : str
    options : dict[str, Any]

    Raises
    ------
    PlanError
        For what is no list of options.

    Examples
    --------
    >>> parsed_product("composite:bands=0,1,2;percentiles=2,98")
    ('composite', {'bands': (0, 1, 2), 'percentiles': (2, 98)})
    >>> parsed_product("phase")
    ('phase', {})
    """
    name, colon, rest = text.partition(":")
    if name == "expression" and colon:
        return name, {"text": rest}
    options: dict[str, Any] = {}
    for part in rest.split(";") if rest.strip() else ():
        found = _OPTION.fullmatch(part)
        if found is None or found[1] in options:
            problem = "is there twice" if found else "is no KEY=VALUE"
            raise PlanError(f"product {text!r}: {part.strip()!r} {problem}; expected a text such as 'pca:n=3'")
        options[found[1]] = _value(found[2])
    return name, options


def _value(text: str) -> Any:
    if "|" in text:
        return tuple(_value(group.strip()) for group in text.split("|"))
    if "," in text:
        parts = text.split(",")
        return tuple(_value(part.strip()) for part in (parts[:-1] if not parts[-1].strip() else parts))
    if text.lower() in _WORDS:
        return _WORDS[text.lower()]
    for number in (int, float):
        try:
            return number(text)
        except ValueError:
            continue
    return text
