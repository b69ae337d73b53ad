"""Names of sources that may be published, and texts without what must not be: passwords, signatures, paths."""

from __future__ import annotations

import contextlib
import re
from typing import Any

__all__ = ["forget_secrets", "public_name", "whole_url", "without_paths", "without_secrets"]

# A password may have any character, also one that ends a URL in a sentence.
_USER = r"(?:[^\s/]*@|[^\s/@:]+:(?!\d+[/?#\s])(?:\S[^\n@/]*|\S+?)@)?"
_LINK = r"::(?=[a-zA-Z][\w+.-]*::?)"  # of a chain of URLs; not in [::1]
_URL = re.compile(
    r"\b[a-zA-Z][\w+.-]*://" + _USER + rf"(?:(?!{_LINK})[^\s'\"<>|?#])*"
    r"(?:[?#](?:[^\s'\"<>|]|['\"<>|](?=[\w%&=+~-]))*)?"
)
_PASSWORD = re.compile(r"[^\s/@:'\"<>|(\[]+:(?!\d+[/?#\s])[^\s/@'\"]+@(?=[\w\[.-])")
_NAMED = re.compile(
    r"""\b(bearer|basic)\s+(?=[\w.~+/=-]*[\d=])[\w.~+/=-]{6,}"""
    r"""|\b((?:x-amz-)?(?:credential|signature|security-token)|sig|password|passwd|secret|(?:\w*_)?token|api_?key"""
    r"""|\w*(?:secret_|account_?|access_?)key|sas_token|sharedaccesssignature)(['"]?\s*[=:]\s*['"]?)[^\s'"&,;})\]]+""",
    re.IGNORECASE,
)
_PARAMETERS = re.compile(r";[\w.-]+=[^/;]*")
_PATH = re.compile(
    r"""(?<=['"])(?:[A-Za-z]:)?[\\/][^'"]+(?=['"])"""  # in quotes it may have blanks
    r"""|(?<![\w/:.~-])(?:[A-Za-z]:)?(?:[\\/][^\s\\/'":<>|]+){2,}"""
)


def public_name(location: str) -> str:
    """The last component of a path or URL: "dem.zarr" of "https://user:token@host/data/dem.zarr?sig=abc"."""
    text = re.split(_LINK, location)[-1]
    if "://" not in text:
        return re.split(r"[\\/]", text.rstrip("\\/"))[-1] or text
    plain = _plain(text)
    scheme, _, place = plain.partition("://")
    return place.rstrip("/").rpartition("/")[2] if "/" in place.rstrip("/") else f"{scheme}://{place.rstrip('/')}"


def without_secrets(text: str) -> str:
    """A text whose URLs have no user, password, query and fragment, and that tells no password by its name."""
    return _NAMED.sub(_unnamed, _PASSWORD.sub("", _URL.sub(lambda url: _plain(url[0]), text)))


def without_paths(text: str) -> str:
    """A text in which each URL and each absolute path is its last component only; without secrets."""
    named = _URL.sub(lambda url: public_name(url[0]), text)
    return _PATH.sub(lambda path: public_name(path[0]), _NAMED.sub(_unnamed, _PASSWORD.sub("", named)))


def whole_url(url: str) -> str:
    """A URL, or a chain of them, without user, password, query and fragment; as it can be opened again."""
    parts = (re.sub(f"(?<=://){_USER}", "", part, count=1) for part in re.split(_LINK, url))
    return "::".join(_PARAMETERS.sub("", re.split("[?#]", part)[0]) for part in parts)


def forget_secrets(error: BaseException | None) -> None:
    """Take the secrets out of the texts of an error and of those that led to it, which a traceback shows too."""
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        with contextlib.suppress(Exception):  # classes of other packages may refuse anything: GDAL's have no other args
            _forget(error)
        error = error.__cause__ or error.__context__


def _forget(error: BaseException) -> None:
    for name in (*vars(error), "strerror", "filename", "filename2", "errmsg"):
        value = getattr(error, name, None)
        if isinstance(value, str) and without_secrets(value) != value:
            with contextlib.suppress(AttributeError, TypeError):
                setattr(error, name, without_secrets(value))
    request: Any = getattr(error, "request_info", None)  # aiohttp's, whose text has the URL
    if hasattr(request, "real_url"):
        plain = {name: getattr(request, name).with_query(None).with_fragment(None) for name in ("url", "real_url")}
        error.request_info = request._replace(**plain)  # type: ignore[attr-defined]
    args = tuple(without_secrets(value) if isinstance(value, str) else value for value in error.args)
    if args != error.args:
        error.args = args


def _unnamed(found: re.Match[str]) -> str:
    return f"{found[1]} ..." if found[1] else f"{found[2]}{found[3]}..."


def _plain(url: str) -> str:
    scheme, _, rest = url.partition("://")
    place, *more = re.split("[?#]", re.sub(f"^{_USER}", "", rest), maxsplit=1)
    # The end of the sentence that the URL stands in is no part of its query.
    end = re.search(r"[)\],.;:]*$", more[0]) if more else None
    return f"{scheme}://{_PARAMETERS.sub('', place)}{end[0] if end else ''}"
