"""Record of the regions that a job has written, so that another run can go on."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lazypyr.errors import PlanError
from lazypyr.kvstore.base import HIDDEN, KVStore
from lazypyr.store.overlay.overlay import UNKNOWN_FUNCTION
from lazypyr.writing.stages import Stage

__all__ = ["Checkpoint"]

_HEAD = f"{HIDDEN}/journal.json"
_LOG = f"{HIDDEN}/done"
_LINES = "|[0-9a-f]{32}"
_VERSION = 1
_FINGERPRINT = "fingerprint of recipe and source"
_CHUNKS = "chunks of the source"


class Checkpoint:
    """Record of one job, kept at its destination.

    A region is done when its line is in the log, whatever files there are. Lines written since the last `flush`
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
    def open(cls, kvstore: KVStore, about: Mapping[str, Any], stages: tuple[Stage, ...]) -> Checkpoint:
        """Read the record of the same job, or begin one.

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
            checkpoint = cls(kvstore, dict(about), stages, 0)
            checkpoint._save()
            return checkpoint
        try:
            record = json.loads(raw)
            recorded, version = record["about"], record["version"]
            recorded_stages = tuple(Stage.from_json(stage) for stage in record["stages"])
            finished = int(record["finished"])
        except (ValueError, KeyError, TypeError) as error:
            raise PlanError(
                f"{kvstore.name}: {_HEAD} can't be read ({error}); delete {HIDDEN} to begin anew"
            ) from error
        if version != _VERSION:
            raise PlanError(f"{kvstore.name}: {_HEAD} is of version {version}, this lazypyr writes {_VERSION}")
        differing = differences(recorded, about)
        if differing:
            raise PlanError(
                f"{kvstore.name} holds the beginning of another job: {differing}; give another destination, or delete it"
            )
        checkpoint = cls(kvstore, dict(about), recorded_stages, finished)
        checkpoint._read()
        return checkpoint

    def _save(self) -> None:
        record = {
            "version": _VERSION,
            "about": self._head,
            "stages": [stage.to_json() for stage in self.stages],
            "finished": self.finished,
        }
        self._kvstore.put_atomic(_HEAD, json.dumps(record).encode())

    def _read(self) -> None:
        boot, since, pending = None, boot_id(), []
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
        """Record that a run begins."""
        if self._kvstore.local is not None:
            self._kvstore.append(_LOG, f"boot {boot_id() or '-'}\n".encode())

    def is_done(self, stage: int, region: int) -> bool:
        """True for a region that has been written."""
        return stage < self.finished or region in self._done.get(stage, ())

    def count(self, stage: int) -> int:
        """Regions of a stage that have been written."""
        return len(self._done.get(stage, ()))

    def mark(self, stage: int, region: int) -> None:
        """Record that a region has been written."""
        self._kvstore.append(_LOG, f"done {stage} {region}\n".encode())
        self._done.setdefault(stage, set()).add(region)

    def flush(self) -> None:
        """Flush the chunks to the disk, then append the line that declares them durable."""
        self._kvstore.sync()
        if self._kvstore.local is not None:
            self._kvstore.append(_LOG, b"synced\n")

    def finish(self, stage: int) -> None:
        """Record that a stage is whole and visible."""
        self.finished = stage + 1
        self._done.pop(stage, None)
        self._save()

    def restart(self) -> None:
        """Record that nothing is done."""
        self.finished = 0
        self._done.clear()
        self._kvstore.clear(_LOG, _LINES)
        self._save()

    def remove(self) -> None:
        """Delete the record of a job that is done."""
        self._kvstore.clear(_LOG, _LINES)
        self._kvstore.delete(_HEAD)


def differences(recorded: Any, wanted: Mapping[str, Any]) -> str:
    """Differences between two records, in words; empty when there are none."""
    if not isinstance(recorded, dict):
        return "its record can't be read"
    plain = json.loads(json.dumps(wanted))
    if recorded.get(_FINGERPRINT) == plain.get(_FINGERPRINT):  # the recipe names the source as it was spelled
        plain.pop("recipe", None)
    differing = [key for key in plain if recorded.get(key) != plain[key]]
    if differing == [_CHUNKS]:
        return "chunks of the source have been written since it began"
    texts = [f"{key} was {_short(recorded.get(key))}, now {_short(plain[key])}" for key in differing]
    if _FINGERPRINT in differing and recorded.get("recipe") == plain["recipe"]:
        texts.append(f"the source has changed since it began, or {UNKNOWN_FUNCTION}")
    return "; ".join(texts)


def _short(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value)
    return text if len(text) <= 120 else f"{text[:117]}..."


def boot_id() -> str:
    """Identifier that changes whenever the machine starts; empty where the system has none."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    except OSError:
        return ""
