"""What has been done of a job, so that another run can go on; and the lock that keeps a second one away."""

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

from lazypyr.errors import BusyError, PlanError
from lazypyr.kvstore.base import HIDDEN, KVStore
from lazypyr.writing.stages import Stage

__all__ = ["Journal", "Lock"]

_HEAD = f"{HIDDEN}/journal.json"
_LOG = f"{HIDDEN}/done"
_LOCK = f"{HIDDEN}/lock"
_VERSION = 1
_PRINT = "fingerprint of recipe and source"


class Journal:
    """The record of one job, kept at its destination.

    A region is done when its line is in the log, whatever files there are. Lines written since the last `checkpoint`
    count only as long as the machine has not been started anew: before a loss of power nothing says that the chunks
    reached the disk.

    Attributes
    ----------
    stages : tuple of Stage
        As they were cut when the job began; regions keep their numbers however many threads or bytes the next run has.
    finished : int
        Stages that are whole, committed ones.
    """

    def __init__(self, kvstore: KVStore, head: dict[str, Any], stages: tuple[Stage, ...], finished: int) -> None:
        self._kvstore, self._head = kvstore, head
        self.stages, self.finished = stages, finished
        self._done: dict[int, set[int]] = {}

    @classmethod
    def of(cls, kvstore: KVStore, about: Mapping[str, Any], stages: tuple[Stage, ...]) -> Journal:
        """Take up the record of the same job, or begin one.

        Parameters
        ----------
        kvstore : KVStore
        about : Mapping[str, Any]
            What makes it the same job, JSON-like.
        stages : tuple of Stage

        Raises
        ------
        PlanError
            When what is there is of another job; the message says what differs.
        """
        raw = kvstore.get(_HEAD)
        if raw is None:
            journal = cls(kvstore, dict(about), stages, 0)
            journal._save()
            return journal
        try:
            record = json.loads(raw)
            found, version = record["about"], record["version"]
            kept = tuple(Stage.of_json(stage) for stage in record["stages"])
            finished = int(record["finished"])
        except (ValueError, KeyError, TypeError) as error:
            raise PlanError(
                f"{kvstore.name}: {_HEAD} can't be read ({error}); delete {HIDDEN} to begin anew"
            ) from error
        if version != _VERSION:
            raise PlanError(f"{kvstore.name}: {_HEAD} is of version {version}, this lazypyr writes {_VERSION}")
        told = differences(found, about)
        if told:
            raise PlanError(
                f"{kvstore.name} holds the beginning of another job: {told}; give another destination, or delete it"
            )
        journal = cls(kvstore, dict(about), kept, finished)
        journal._read()
        return journal

    def _save(self) -> None:
        record = {
            "version": _VERSION,
            "about": self._head,
            "stages": [stage.to_json() for stage in self.stages],
            "finished": self.finished,
        }
        self._kvstore.put_atomic(_HEAD, json.dumps(record).encode())

    def _read(self) -> None:
        boot, since, pending = None, _boot(), []
        for line in self._kvstore.read_log(_LOG):
            words = line.split()
            if len(words) == 3 and words[0] == b"done" and words[1].isdigit() and words[2].isdigit():
                pending.append((int(words[1]), int(words[2])))
            elif words[:1] == [b"boot"]:
                boot, pending = words[-1].decode(), pending if words[-1].decode() == boot else []
            elif words == [b"synced"]:
                self._trust(pending)
                pending = []
        # Media that keep what they were given once they said so write no such lines.
        if self._kvstore.local is None or (boot == since and since):
            self._trust(pending)

    def _trust(self, regions: list[tuple[int, int]]) -> None:
        for stage, region in regions:
            self._done.setdefault(stage, set()).add(region)

    def begin(self) -> None:
        """Say that a run begins."""
        if self._kvstore.local is not None:
            self._kvstore.append(_LOG, f"boot {_boot() or '-'}\n".encode())

    def is_done(self, stage: int, region: int) -> bool:
        """Whether a region has been written."""
        return stage < self.finished or region in self._done.get(stage, ())

    def count(self, stage: int) -> int:
        """Regions of a stage that have been written."""
        return len(self._done.get(stage, ()))

    def mark(self, stage: int, region: int) -> None:
        """Say that a region has been written."""
        self._kvstore.append(_LOG, f"done {stage} {region}\n".encode())
        self._done.setdefault(stage, set()).add(region)

    def checkpoint(self) -> None:
        """Have what was marked survive a loss of power: first the chunks, then the line that says so."""
        self._kvstore.sync()
        if self._kvstore.local is not None:
            self._kvstore.append(_LOG, b"synced\n")

    def finish(self, stage: int) -> None:
        """Say that a stage is whole and visible."""
        self.finished = stage + 1
        self._done.pop(stage, None)
        self._save()

    def remove(self) -> None:
        """Delete the record of a job that is done."""
        self._kvstore.clear(_LOG)
        self._kvstore.delete(_HEAD)


def differences(found: Any, wanted: Mapping[str, Any]) -> str:
    """What differs between two records, in words; empty when nothing does."""
    if not isinstance(found, dict):
        return "its record can't be read"
    plain = json.loads(json.dumps(wanted))
    if found.get(_PRINT) == plain.get(_PRINT):  # the recipe names the source as it was spelled
        plain.pop("recipe", None)
    return "; ".join(
        f"{key} was {_short(found.get(key))}, now {_short(plain[key])}" for key in plain if found.get(key) != plain[key]
    )


def _short(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value)
    return text if len(text) <= 120 else f"{text[:117]}..."


class Lock:
    """Lock of a destination against a second writer, held as long as this process lives."""

    def __init__(self, kvstore: KVStore) -> None:
        self._kvstore = kvstore
        self._mine = json.dumps(
            {"pid": os.getpid(), "host": socket.gethostname(), "boot": _boot(), "started": _started(os.getpid()),
             "since": time.strftime("%Y-%m-%d %H:%M:%S"), "nonce": uuid.uuid4().hex}
        ).encode()  # fmt: skip

    def __enter__(self) -> Lock:
        if self._kvstore.create(_LOCK, self._mine):
            return self
        # Of several who find a lock whose owner is gone, one removes it: the next would remove the one's new lock.
        with self._kvstore.lock(f"{HIDDEN}/"):
            found = self._kvstore.get(_LOCK)
            owner = _owner(found)
            if found is not None and not _gone(owner):
                raise BusyError(
                    f"{self._kvstore.name} is being written by process {owner.get('pid', '?')} on "
                    f"{owner.get('host', '?')} since {owner.get('since', '?')}; if that process is gone, delete {_LOCK}"
                )
            # Where there is none any more, the next that is found is of somebody else.
            if found is not None and self._kvstore.get(_LOCK) == found:
                self._kvstore.delete(_LOCK)
            if not self._kvstore.create(_LOCK, self._mine):
                raise BusyError(f"{self._kvstore.name}: another process has just begun to write to it")
        return self

    def __exit__(self, *exc: object) -> None:
        with contextlib.suppress(Exception):  # the work is done or its own error is being raised
            if self._kvstore.get(_LOCK) == self._mine:
                self._kvstore.delete(_LOCK)


def _owner(raw: bytes | None) -> dict[str, Any]:
    try:
        owner = json.loads(raw or b"{}")
    except ValueError:
        return {}
    return owner if isinstance(owner, dict) else {}


def _gone(owner: Mapping[str, Any]) -> bool:
    """Whether the owner of a lock is known to have ended: a process of this machine that isn't there any more."""
    if not owner:
        return True  # killed while it wrote the lock
    if owner.get("host") != socket.gethostname():
        return False
    if owner.get("boot") != _boot():
        return True
    try:
        pid = int(owner["pid"])
        os.kill(pid, 0)
    except (ProcessLookupError, KeyError, ValueError, OverflowError):
        return True
    except PermissionError:
        return False
    return bool(owner.get("started") != _started(pid))


def _boot() -> str:
    """Something that changes when the machine is started; empty where it isn't known."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    except OSError:
        return ""


def _started(pid: int) -> str:
    """When a process began: its number may have been given to another one since."""
    try:
        return Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()[19]
    except (OSError, IndexError):
        return ""
