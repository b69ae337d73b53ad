"""Several processes that share one listening socket."""

from __future__ import annotations

import contextlib
import signal
import socket
from collections.abc import Iterator
from multiprocessing import resource_tracker

import uvicorn
from uvicorn.supervisors import Multiprocess

__all__ = ["run_workers"]


def run_workers(config: uvicorn.Config, listener: socket.socket) -> None:
    """Serve in `config.workers` processes until interrupted.

    Raises
    ------
    KeyboardInterrupt
        After Ctrl-C, once they have ended.
    """
    workers = _Workers(config, [listener])
    workers.run()
    if workers.interrupted:
        raise KeyboardInterrupt


class _Workers(Multiprocess):
    """Processes that end when this one tells them: Ctrl-C reaches all of a terminal's, also those that still import."""

    interrupted = False

    def init_processes(self) -> None:
        resource_tracker.ensure_running()  # it lets Ctrl-C through again when it starts: not with the first worker
        with _interrupts_held():
            super().init_processes()

    def keep_subprocess_alive(self) -> None:
        with _interrupts_held():
            super().keep_subprocess_alive()

    def handle_int(self) -> None:
        self.interrupted = True
        super().handle_int()


@contextlib.contextmanager
def _interrupts_held() -> Iterator[None]:
    """Context in which SIGINT waits; processes that are started in it never get it."""
    if not hasattr(signal, "pthread_sigmask"):  # on Windows Ctrl-C is no signal to hold
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
