"""Lock of a destination against a second writer."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import threading
import time
import uuid
from typing import Any

from lazypyr.errors import BusyError
from lazypyr.kvstore.base import HIDDEN, KVStore
from lazypyr.writing.job import DestinationLost

__all__ = ["LOCK", "WriterLock"]

LOCK = f"{HIDDEN}/lock"
# A lease is renewed that often, and lapses when it has not been for so long.
_RENEW_S = 10.0
_LEASE_S = 60.0
# A lease that can't be read may just be written anew.
_LOOKS = 10
_LOOK_S = 0.01

_process = uuid.uuid4().hex
# Locks that are held in this process: any other that bears its name was left when the medium failed.
_held: set[str] = set()


class WriterLock:
    """Lock of a destination against a second writer.

    In a folder it is a lock of the operating system, which goes with its process. Other media get a lease: a value that
    its holder renews.
    """

    def __init__(self, kvstore: KVStore) -> None:
        self._kvstore, self._nonce = kvstore, uuid.uuid4().hex
        self._stack = contextlib.ExitStack()

    def _record(self) -> bytes:
        facts = {"pid": os.getpid(), "host": socket.gethostname(), "process": f"{_process}-{os.getpid()}",
                 "nonce": self._nonce, "renewed": time.time()}  # fmt: skip
        return json.dumps(facts).encode()

    def _owner(self) -> dict[str, Any] | None:
        """Facts of the lock that is there, None if there is none, {} if it can't be read."""
        for _ in range(_LOOKS):
            content = self._kvstore.get(LOCK)
            try:
                owner = None if content is None else json.loads(content)
                return owner if isinstance(owner, dict) or owner is None else {}
            except ValueError:  # its holder renews it: not all media replace a value at once
                time.sleep(_LOOK_S)
        return {}

    def __enter__(self) -> WriterLock:
        with contextlib.ExitStack() as stack:
            try:
                file = stack.enter_context(self._kvstore.lock(LOCK, wait=False))
            except TimeoutError:
                raise self._busy(self._owner() or {}) from None
            if file is None:
                self._wait_for_lapse()
                self._kvstore.put_atomic(LOCK, self._record())
            else:
                file.write(self._record())
            _held.add(self._nonce)
            stack.callback(self._release)
            # Of two that found no lease in the same instant the last one has it.
            self.check()
            if file is None:
                stop = threading.Event()
                renewal = threading.Thread(target=self._renew, args=(stop,), name="lazypyr-lease", daemon=True)
                renewal.start()
                stack.callback(renewal.join, _RENEW_S)
                stack.callback(stop.set)
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *exc: object) -> None:
        self._stack.close()

    def check(self) -> None:
        """Refuse to go on without the lock.

        Raises
        ------
        BusyError
            When another process has it: this one did not renew its lease in time.
        DestinationLost
            When there is none any more.
        """
        owner = self._owner()
        if owner is None:
            raise DestinationLost(
                f"{self._kvstore.name}: {LOCK} is gone: the destination was removed, or unmounted, while it was written to"
            )
        if owner.get("nonce") != self._nonce:
            raise self._busy(owner)

    def _release(self) -> None:
        _held.discard(self._nonce)
        with contextlib.suppress(Exception):  # the work is done or its own error is being raised
            if (self._owner() or {}).get("nonce") == self._nonce:
                self._kvstore.delete(LOCK)

    def _wait_for_lapse(self) -> None:
        """Return when no other process has a lease."""
        owner = self._owner()
        if not owner:
            return
        if owner.get("process") == f"{_process}-{os.getpid()}" and owner.get("nonce") not in _held:
            return
        renewed = owner.get("renewed")
        if isinstance(renewed, int | float) and time.time() - renewed < _LEASE_S:
            raise self._busy(owner)
        time.sleep(2 * _RENEW_S)  # its clock may be wrong: a holder that lives renews meanwhile
        latest = self._owner()
        if latest is not None and latest != owner:
            raise self._busy(latest)

    def _renew(self, stop: threading.Event) -> None:
        while not stop.wait(_RENEW_S):
            with contextlib.suppress(Exception):  # what fails for long lapses, and is found by `check`
                if (self._owner() or {}).get("nonce") == self._nonce:
                    self._kvstore.put_atomic(LOCK, self._record())

    def _busy(self, owner: dict[str, Any]) -> BusyError:
        renewed = owner.get("renewed")
        since = f" since {time.strftime('%Y-%m-%d %H:%M:%S', time.localtime(renewed))}" if renewed else ""
        return BusyError(
            f"{self._kvstore.name} is being written by process {owner.get('pid', '?')} on {owner.get('host', '?')}{since}; "
            f"wait for it. The lock of one that is gone goes with it in a folder, and {_LEASE_S:g} s later elsewhere"
        )
