"""Names of sources that may be published, and texts without what must not be: passwords, signatures, paths."""

from __future__ import annotations

import re

__all__ = ["public_name", "whole_url", "without_paths", "without_secrets"]

_URL = re.compile(r"\b[a-zA-Z][\w+.-]*://[^\s'\"<>|]*")
_PATH = re.compile(
    r"""(?<=['"])(?:[A-Za-z]:)?[\\/][^'"]+(?=['"])"""  # in quotes it may have blanks
    r"""|(?<![\w/:.~-])(?:[A-Za-z]:)?(?:[\\/][^\s\\/'":<>|]+){2,}"""
)


def public_name(location: str) -> str:
    """The last component of a path or URL: "dem.zarr" of "https://user:token@host/data/dem.zarr?sig=abc"."""
    text = location.rpartition("::")[2]
    if "://" not in text:
        return re.split(r"[\\/]", text.rstrip("\\/"))[-1] or text
    plain = _plain(text)
    scheme, _, place = plain.partition("://")
    return place.rstrip("/").rpartition("/")[2] if "/" in place.rstrip("/") else f"{scheme}://{place.rstrip('/')}"


def without_secrets(text: str) -> str:
    """A text whose URLs have no user, password, query and fragment."""
    return _URL.sub(lambda url: _plain(url[0]), text)


def without_paths(text: str) -> str:
    """A text in which each URL and each absolute path is its last component only."""
    return _PATH.sub(lambda path: public_name(path[0]), _URL.sub(lambda url: public_name(url[0]), text))


def whole_url(url: str) -> str:
    """A URL, or a chain of them, without user, password, query and fragment; as it can be opened again."""
    return "::".join(re.sub(r"^([^/?#]*://)[^/]*@", r"\1", re.split("[?#]", part)[0]) for part in url.split("::"))


def _plain(url: str) -> str:
    if "::" in url:
        return "::".join(_plain(part) for part in url.split("::"))
    scheme, _, rest = url.partition("://")
    place, *more = re.split("[?#]", re.sub("^[^/]*@", "", rest), maxsplit=1)
    # The end of the sentence that the URL stands in is no part of its query.
    end = re.search(r"[)\],.;:]*$", more[0]) if more else None
    return f"{scheme}://{place}{end[0] if end else ''}"
