"""Key-value store of files below a folder."""

from __future__ import annotations

import contextlib
import ctypes
import errno
import functools
import itertools
import os
import sys
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from lazypyr._util.places import is_url, local_path
from lazypyr.kvstore.base import HIDDEN, KVStore, LockFile
from lazypyr.sources.base import Source

if sys.platform != "win32":
    import fcntl

__all__ = ["LocalKVStore"]

_PARTIAL = f"{HIDDEN}/partial"
_serial = itertools.count()
# How long one waits for a lock that is held for milliseconds, and how often one looks.
_PATIENCE_S = 10.0
_TICK_S = 0.002
# How often one makes a folder anew that another process removes because it is empty.
_TRIES = 20
_BEGIN_TO_WRITE = 2  # SYNC_FILE_RANGE_WRITE


class LocalKVStore(KVStore):
    """Files below a folder."""

    def __init__(self, root: str | os.PathLike[str], held: int | None = None) -> None:
        self.local = Path(root).expanduser().resolve()
        self.name = str(self.local)
        self._root = self.name
        self._made: set[str] = set()
        self._held = held

    def __reduce__(self) -> tuple[Any, ...]:
        return LocalKVStore, (self._root, self._held)

    def hold(self) -> None:
        self._held = Path(self._root).stat().st_ino

    def _check_held(self) -> None:
        """Refuse to make the folder anew, or to write to what lies under a file system that was unmounted."""
        if self._held is not None:
            try:
                inode = os.stat(self._root).st_ino  # noqa: PTH116
            except (FileNotFoundError, NotADirectoryError):
                inode = None
            if inode != self._held:
                raise FileNotFoundError(
                    errno.ENOENT, "the folder was removed, replaced or unmounted while it was written to", self._root
                )

    def _path(self, key: str) -> str:
        return f"{self._root}/{key}"

    def _folder(self, path: str) -> None:
        folder = os.path.dirname(path)  # noqa: PTH120 - a Path costs more than the write
        if folder not in self._made:
            self._check_held()
            self._make_folder(folder)
            self._made.add(folder)

    def _make_folder(self, folder: str) -> None:
        """Make a folder and those around it; but never the root anew, once it is held."""
        if self._held is not None and len(folder) <= len(self._root):
            return
        try:
            os.mkdir(folder)  # noqa: PTH102
        except FileExistsError:
            if os.path.isfile(folder):  # noqa: PTH113
                raise
        except FileNotFoundError:
            self._make_folder(os.path.dirname(folder))  # noqa: PTH120
            with contextlib.suppress(FileExistsError):
                os.mkdir(folder)  # noqa: PTH102

    def _opened(self, path: str, flags: int) -> int:
        """A descriptor of a file in a folder that is made if need be, also while another process removes empty ones."""
        for left in reversed(range(_TRIES)):
            try:
                self._folder(path)
                return os.open(path, flags, 0o666)
            except FileNotFoundError:
                self._made.clear()
                if not left:
                    raise
        raise AssertionError("unreachable")

    def get(self, key: str) -> bytes | None:
        try:
            with open(self._path(key), "rb") as file:  # noqa: PTH123
                return file.read()
        except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
            return None

    def get_part(self, key: str, start: int, length: int) -> bytes | None:
        try:
            with open(self._path(key), "rb") as file:  # noqa: PTH123
                file.seek(start, os.SEEK_END if start < 0 else os.SEEK_SET)
                return file.read(length)
        except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
            return None

    def put(self, key: str, data: Any) -> None:
        fd = self._opened(self._path(key), os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        try:
            _write(fd, data)
            _send_to_disk(fd)
        finally:
            os.close(fd)

    def put_atomic(self, key: str, data: bytes, *, durable: bool = True) -> None:
        path, partial = self._path(key), self._path(f"{_PARTIAL}/{os.getpid()}-{next(_serial)}-{uuid.uuid4().hex[:8]}")
        try:
            fd = self._opened(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL)
            try:
                _write(fd, data)
                if durable:
                    os.fsync(fd)
            finally:
                os.close(fd)
            self._folder(path)
            os.replace(partial, path)  # noqa: PTH105
        except BaseException:
            self._made.clear()
            with contextlib.suppress(OSError):
                os.unlink(partial)  # noqa: PTH108
            raise
        if durable:
            _sync_folder(os.path.dirname(path))  # noqa: PTH120

    def delete(self, key: str) -> None:
        with contextlib.suppress(FileNotFoundError, NotADirectoryError):
            os.unlink(self._path(key))  # noqa: PTH108

    def list_keys(self, folder: str) -> Iterator[str]:
        top = self._path(folder).rstrip("/")
        if os.path.isfile(top):  # noqa: PTH113
            yield folder
        for path, _, names in os.walk(top):
            inside = path[len(self._root) + 1 :].replace(os.sep, "/")
            for name in names:
                yield f"{inside}/{name}" if inside else name

    def list_sizes(self, folder: str) -> Iterator[tuple[str, int]]:
        for key in self.list_keys(folder):
            with contextlib.suppress(OSError):
                yield key, os.stat(self._path(key)).st_size  # noqa: PTH116

    @contextlib.contextmanager
    def lock(self, key: str, *, wait: bool = True) -> Iterator[LockFile | None]:
        path, locked = self._path(key), False
        fd = self._opened(path, os.O_RDWR | os.O_CREAT)
        try:
            # Its holder may have deleted the file, and another one made it anew, before the lock was had.
            while (locked := _locked(fd, path, _PATIENCE_S if wait else 0.0)) and not _is_file_at(fd, path):
                os.close(fd)
                fd, locked = self._opened(path, os.O_RDWR | os.O_CREAT), False
            yield _LocalLockFile(fd) if locked else None
        finally:
            if locked:  # by closing alone it would stay with a child that was forked meanwhile
                fcntl.flock(fd, fcntl.LOCK_UN)
            os.close(fd)

    def append(self, key: str, line: bytes) -> None:
        fd = self._opened(self._path(key), os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        try:
            _write(fd, line)
        finally:
            os.close(fd)

    def read_log(self, key: str) -> list[bytes]:
        # What follows the last newline is a line that was cut off; one cut off earlier makes no sense to its reader.
        return (self.get(key) or b"").split(b"\n")[:-1]

    def clear(self, folder: str, names: str) -> None:
        super().clear(folder, names)
        top = self._path(folder)
        for path, folders, _ in os.walk(top, topdown=False):
            for name in folders:
                with contextlib.suppress(OSError):
                    os.rmdir(f"{path}/{name}")  # noqa: PTH106
        with contextlib.suppress(OSError):
            os.rmdir(top)  # noqa: PTH106
        self._made.clear()

    def sync(self) -> None:
        if not Path(self._root).is_dir():
            return
        fd = os.open(self._root, os.O_RDONLY)
        try:
            if not _sync_file_system(fd):
                os.sync()
        finally:
            os.close(fd)

    def is_empty(self) -> bool:
        try:
            return set(os.listdir(self._root)) <= {HIDDEN}  # noqa: PTH208
        except FileNotFoundError:
            return True

    def overlaps(self, source: Source) -> bool:
        if is_url(source.location):
            return False
        here, there = Path(self._root), Path(local_path(source.location)).resolve()
        return there.exists() and (there == here or there in here.parents or here in there.parents)


class _LocalLockFile:
    def __init__(self, fd: int) -> None:
        self._fd = fd

    def read(self) -> bytes:
        os.lseek(self._fd, 0, os.SEEK_SET)
        return os.read(self._fd, 4096)

    def write(self, data: bytes) -> None:
        os.lseek(self._fd, 0, os.SEEK_SET)
        os.truncate(self._fd, 0)
        _write(self._fd, data)


def _is_file_at(fd: int, path: str) -> bool:
    """True when an open file is the one that is found at a path."""
    try:
        return os.path.samestat(os.fstat(fd), os.stat(path))  # noqa: PTH116
    except FileNotFoundError:
        return False


def _locked(fd: int, path: str, patience_s: float) -> bool:
    """Lock an open file; False where that can't be done."""
    if sys.platform == "win32":
        return False
    deadline = time.monotonic() + patience_s
    while True:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > deadline:
                raise TimeoutError(f"{path} has been locked by another process for {patience_s:g} s") from None
            time.sleep(_TICK_S)
        except OSError:  # a file system without locks
            return False
        else:
            return True


def _write(fd: int, data: Any) -> None:
    left = memoryview(data).cast("B")
    while left:
        left = left[os.write(fd, left) :]


def _sync_folder(folder: str) -> None:
    if os.name != "posix":  # elsewhere folders can't be opened
        return
    fd = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


@functools.cache
def _of_libc(name: str) -> Any:
    """A function of Linux that Python doesn't have, None elsewhere."""
    return getattr(ctypes.CDLL(None, use_errno=True), name, None) if sys.platform.startswith("linux") else None


def _send_to_disk(fd: int) -> None:
    """Have the kernel begin to write a file, without waiting for it: `sync` then finds little left to do."""
    call = _of_libc("sync_file_range")
    if call is not None:  # what goes wrong on the way is told by `sync`
        call(fd, ctypes.c_longlong(0), ctypes.c_longlong(0), _BEGIN_TO_WRITE)


def _sync_file_system(fd: int) -> bool:
    """One call for all files of a file system, where there is one: thousands of chunks are synced at once."""
    syncfs = _of_libc("syncfs")
    if syncfs is None:
        return False
    if syncfs(fd) != 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
    return True
