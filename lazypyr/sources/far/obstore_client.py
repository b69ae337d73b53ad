"""Clients of object stores by obstore, for options in fsspec's words; what it can't take is left to fsspec."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from datetime import timedelta
from importlib.util import find_spec
from typing import Any
from urllib.parse import urlsplit

from lazypyr._util.optional import need
from lazypyr.sources.far.clients import ByteRange, Client, Fetched, part_of

__all__ = ["ObstoreClient", "obstore_config"]

# Tries, pauses and deadlines are those of `Requests`.
_NO_RETRIES = {"max_retries": 0, "retry_timeout": timedelta(seconds=600)}
_CLIENT = {"timeout": "600s", "connect_timeout": "10s", "allow_http": True}
# Process in which obstore's own threads run, once they do: a child that is forked has none, and can't start them.
_runs_in: int | None = None


def obstore_config(url: str, options: Mapping[str, Any]) -> dict[str, Any] | None:
    """Configuration of obstore's store for a URL and fsspec's options; None where fsspec has to read it."""
    parts = urlsplit(url)
    of_scheme = _SCHEMES.get(parts.scheme)
    plain = not (parts.query or parts.fragment or "@" in parts.netloc or "%" in parts.path)
    if of_scheme is None or not plain or find_spec("obstore") is None or _runs_in not in (None, os.getpid()):
        return None
    package, config_of = of_scheme
    try:
        config, client = config_of(dict(options), alone=find_spec(package) is None)
    except _Unknown:
        return None
    client = {**_CLIENT, **client}
    return {"config": config, "client_options": client} if config is not None else {"client_options": client}


class ObstoreClient(Client):
    """Values below a URL.

    Parameters
    ----------
    url : str
    config : Mapping
        As `obstore_config` gives it.
    """

    def __init__(self, url: str, config: Mapping[str, Any]) -> None:
        self.url, self._config = url, dict(config)

    def start(self) -> None:
        self._store: Any = None
        self._cuts = True

    async def get(self, key: str, part: ByteRange | None) -> Fetched | None:
        global _runs_in
        obstore = need("obstore", feature=f"reading {self.url}", extra="remote")
        if self._store is None:
            _runs_in = os.getpid()
            stores = need("obstore.store", feature=f"reading {self.url}", extra="remote")
            self._store = stores.from_url(self.url, retry_config=_NO_RETRIES, **self._config)
        options: dict[str, Any] = {}
        if part is not None and self._cuts:
            options["range"] = _range_of(part)
        try:
            result = await obstore.get_async(self._store, key, options=options)
            data = memoryview(await result.bytes_async())
        except FileNotFoundError:
            return None
        except need("obstore.exceptions", feature=f"reading {self.url}", extra="remote").NotSupportedError:
            if not options:
                raise
            self._cuts = False  # a server that hands out whole files only
            return await self.get(key, part)
        tag = result.meta["e_tag"] or result.meta["version"]
        return Fetched(part_of(data, part) if part is not None and not options else data, tag)


def _range_of(part: ByteRange) -> Any:
    if part.start is None:
        return {"suffix": part.length}
    return {"offset": part.start} if part.length is None else (part.start, part.start + part.length)


class _Unknown(Exception):
    """An option, or a way to credentials, that is fsspec's own."""


Config = tuple[dict[str, Any] | None, dict[str, Any]]


def _taken(options: dict[str, Any], names: Mapping[str, str]) -> dict[str, Any]:
    """Options by their names for obstore; nothing may be left over."""
    config = {names[name]: value for name, value in options.items() if name in names and value is not None}
    if any(name not in names and value is not None for name, value in options.items()):
        raise _Unknown
    return config


def _http(options: dict[str, Any], *, alone: bool) -> Config:
    inner = dict(options.pop("client_kwargs", None) or {})
    headers = {**(options.pop("headers", None) or {}), **(inner.pop("headers", None) or {})}
    if options or inner:
        raise _Unknown
    return None, {"default_headers": headers} if headers else {}


def _s3(options: dict[str, Any], *, alone: bool) -> Config:
    inner = dict(options.pop("client_kwargs", None) or {})
    options |= {name: inner.pop(name) for name in ("endpoint_url", "region_name") if name in inner}
    anonymous, pays = options.pop("anon", None), options.pop("requester_pays", None)
    names = {
        "key": "access_key_id",
        "secret": "secret_access_key",
        "token": "session_token",
        "endpoint_url": "endpoint",
        "region_name": "region",
    }
    config = _taken(options, names)
    known = anonymous or "access_key_id" in config or "AWS_ACCESS_KEY_ID" in os.environ
    placed = {"region", "endpoint"} & set(config) or {"AWS_REGION", "AWS_DEFAULT_REGION"} & set(os.environ)
    # botocore looks for credentials and regions where obstore doesn't: in files, by redirects.
    if inner or not (alone or (known and placed)):
        raise _Unknown
    if "region" not in config and not {"AWS_REGION", "AWS_DEFAULT_REGION"} & set(os.environ):
        config["region"] = "us-east-1"
    flags = {"skip_signature": anonymous, "request_payer": pays}
    return {**config, **{name: True for name, value in flags.items() if value}}, {}


def _gs(options: dict[str, Any], *, alone: bool) -> Config:
    anonymous = options.pop("token", None) == "anon"
    if options or not (anonymous or alone):
        raise _Unknown
    return {"skip_signature": True} if anonymous else {}, {}


def _az(options: dict[str, Any], *, alone: bool) -> Config:
    anonymous = options.pop("anon", None)
    names = {"account_name": "account_name", "account_key": "account_key", "sas_token": "sas_key"}
    config = _taken(options, names)
    if not (anonymous or alone or {"account_key", "sas_key"} & set(config)):
        raise _Unknown
    return {**config, **({"skip_signature": True} if anonymous else {})}, {}


_SCHEMES: dict[str, tuple[str, Callable[..., Config]]] = {
    "http": ("aiohttp", _http),
    "https": ("aiohttp", _http),
    "s3": ("s3fs", _s3),
    "gs": ("gcsfs", _gs),
    "az": ("adlfs", _az),
}
