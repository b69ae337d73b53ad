"""A request as its client made it, where a trusted proxy tells: scheme, host and the prefix below which the proxy serves."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Sequence

from starlette.types import Scope

from lazypyr.errors import PlanError

__all__ = ["as_asked", "checked_prefix", "trusted_networks"]

Network = ipaddress.IPv4Network | ipaddress.IPv6Network
_PREFIX = re.compile(r"(?:/[\w.~+-]+)*/?", re.ASCII)
_AUTHORITY = re.compile(r"[\w.-]+(?::\d{1,5})?|\[[0-9A-Fa-f:.]+\](?::\d{1,5})?", re.ASCII)


def checked_prefix(root_path: str) -> str:
    """A prefix of URLs without a slash at its end; PlanError for anything that is none."""
    if not _PREFIX.fullmatch(root_path):
        raise PlanError(f"root_path: expected a path as '/data' of letters, digits and '_.~+-', got {root_path!r}")
    return root_path.rstrip("/")


def trusted_networks(addresses: Sequence[str]) -> tuple[Network, ...]:
    """Networks of proxies, of addresses as '127.0.0.1' and networks as '10.0.0.0/8'; PlanError for anything else."""
    try:
        return tuple(ipaddress.ip_network(address) for address in addresses)
    except ValueError as error:
        raise PlanError(f"trust_proxy: expected addresses or networks as '10.0.0.0/8', got {error}") from None


def as_asked(scope: Scope, root_path: str, networks: Sequence[Network]) -> Scope:
    """Scope with the prefix that was configured, and with what a trusted proxy says; of others nothing is believed."""
    root = scope.get("root_path", "") or root_path
    told = {
        name: value.decode("latin-1").strip() for name, value in scope["headers"] if name.startswith(b"x-forwarded-")
    }
    if not told or not _is_trusted(scope, networks):
        return scope if root == scope.get("root_path", "") else {**scope, "root_path": root}
    prefix = told.get(b"x-forwarded-prefix", "")
    if _PREFIX.fullmatch(prefix):
        root = prefix.rstrip("/") or root
    scope = {**scope, "root_path": root}
    if told.get(b"x-forwarded-proto") in ("http", "https"):
        scope["scheme"] = told[b"x-forwarded-proto"]
    host = told.get(b"x-forwarded-host", "")
    if _AUTHORITY.fullmatch(host):
        others = [(name, value) for name, value in scope["headers"] if name != b"host"]
        scope["headers"] = [*others, (b"host", host.encode("latin-1"))]
    return scope


def _is_trusted(scope: Scope, networks: Sequence[Network]) -> bool:
    try:
        address = ipaddress.ip_address((scope.get("client") or ("",))[0])
    except ValueError:
        return False
    return any(address in network for network in networks)
