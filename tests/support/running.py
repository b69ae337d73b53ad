"""Running things at the same time, and in processes of their own."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def together(n, call, timeout=100):
    """Call ``call(i)`` in n threads that start as one; results in order, an exception in place of what failed."""
    barrier, results = threading.Barrier(n), [None] * n

    def work(i):
        barrier.wait()
        try:
            results[i] = call(i)
        except BaseException as error:
            results[i] = error

    threads = [threading.Thread(target=work, args=(i,), daemon=True) for i in range(n)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout)
        assert not thread.is_alive(), "hangs"
    return results


def until(condition, timeout=60):
    """What `condition()` returns, as soon as it is true."""
    end = time.monotonic() + timeout
    while not (found := condition()):
        assert time.monotonic() < end, "it never came to be"
        time.sleep(0.02)
    return found


def python(code, *args, timeout=100, check=True, env=None):
    """Run code in a fresh Python; with the stacks of all its threads if it hangs. Returns what it printed."""
    guard = f"import faulthandler; faulthandler.dump_traceback_later({timeout - 2}, exit=True)\n"
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", guard + code, *map(str, args)],
        capture_output=True,
        text=True,
        timeout=timeout + 10,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "tests")]), **(env or {})},
        check=False,
    )
    if check:
        assert done.returncode == 0, f"exit code {done.returncode}\n{done.stdout[-2000:]}\n{done.stderr[-6000:]}"
    return done.stdout if check else done
