"""Lock of a destination against a second writer."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import time
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lazypyr.errors import BusyError
from lazypyr.kvstore.base import HIDDEN, KVStore

__all__ = ["WriterLock", "boot_id"]

_LOCK = f"{HIDDEN}/lock"


class WriterLock:
    """Lock of a destination against a second writer, held as long as this process lives."""

    def __init__(self, kvstore: KVStore) -> None:
        self._kvstore = kvstore
        self._record = json.dumps(
            {"pid": os.getpid(), "host": socket.gethostname(), "boot": boot_id(), "started": _started(os.getpid()),
             "since": time.strftime("%Y-%m-%d %H:%M:%S"), "nonce": uuid.uuid4().hex}
        ).encode()  # fmt: skip

    def __enter__(self) -> WriterLock:
        if self._kvstore.create(_LOCK, self._record):
            return self
        # One of several that find a lock whose owner has ended removes it; a second one would remove the new lock.
        with self._kvstore.lock(f"{HIDDEN}/"):
            content = self._kvstore.get(_LOCK)
            owner = _owner(content)
            if content is not None and not _has_ended(owner):
                raise BusyError(
                    f"{self._kvstore.name} is being written by process {owner.get('pid', '?')} on "
                    f"{owner.get('host', '?')} since {owner.get('since', '?')}; if that process is gone, delete {_LOCK}"
                )
            # Once it is gone, the next lock belongs to another process.
            if content is not None and self._kvstore.get(_LOCK) == content:
                self._kvstore.delete(_LOCK)
            if not self._kvstore.create(_LOCK, self._record):
                raise BusyError(f"{self._kvstore.name}: another process has just begun to write to it")
        return self

    def __exit__(self, *exc: object) -> None:
        with contextlib.suppress(Exception):  # the work is done or its own error is being raised
            if self._kvstore.get(_LOCK) == self._record:
                self._kvstore.delete(_LOCK)


def _owner(raw: bytes | None) -> dict[str, Any]:
    try:
        owner = json.loads(raw or b"{}")
    except ValueError:
        return {}
    return owner if isinstance(owner, dict) else {}


def _has_ended(owner: Mapping[str, Any]) -> bool:
    """True for an owner that is known to have ended: a process of this machine that doesn't exist any more."""
    if not owner:
        return True  # killed while it wrote the lock
    if owner.get("host") != socket.gethostname():
        return False
    if owner.get("boot") != boot_id():
        return True
    try:
        pid = int(owner["pid"])
        os.kill(pid, 0)
    except (ProcessLookupError, KeyError, ValueError, OverflowError):
        return True
    except PermissionError:
        return False
    return bool(owner.get("started") != _started(pid))


def _started(pid: int) -> str:
    """Start time of a process, which tells it from a later one of the same number; empty where it isn't known."""
    try:
        return Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()[19]
    except (OSError, IndexError):
        return ""


def boot_id() -> str:
    """Identifier that changes whenever the machine starts; empty where the system has none."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    except OSError:
        return ""
