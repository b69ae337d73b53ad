"""Cost of installing: download, disk, time, and time of the first import, of the core and of `[all]`, at both ends.

    python benchmarks/install_size.py [PYTHON...]

Needs uv. Each environment is fresh; "fresh" installs begin with an empty cache, "warm" ones with a full one. The download is the
size of the wheels that pip would fetch. The first Python given, 3.11 unless told otherwise, is measured with the lowest versions
that pyproject.toml promises too.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
ROUNDS = 5  # of the import; the median counts


def run(*command, **more):
    started = time.perf_counter()
    subprocess.run([str(part) for part in command], check=True, stdout=subprocess.DEVNULL, **more)
    return time.perf_counter() - started


def size(folder):
    return sum(path.stat().st_size for path in Path(folder).rglob("*") if path.is_file() and not path.is_symlink())


def measure(python, extra, pins, wheel, scratch):
    """One row: what it takes to install `lazypyr` or `lazypyr[extra]` from its wheel."""
    what = f"{wheel}[{extra}]" if extra else str(wheel)
    venv, wheels = scratch / "venv", scratch / "wheels"
    there = venv / ("Scripts" if os.name == "nt" else "bin") / "python"
    seconds = {}
    cache = scratch / "cache"
    shutil.rmtree(cache, ignore_errors=True)
    for kind in ("fresh", "warm"):
        run("uv", "venv", "--quiet", "--clear", "--python", python, venv)
        before = size(venv)
        install = ["uv", "pip", "install", "--quiet", "--cache-dir", cache, "--python", there, *pins, what]
        seconds[kind] = run(*install, env={**os.environ, "UV_LINK_MODE": "copy"})
    installed = size(venv) - before
    shutil.rmtree(wheels, ignore_errors=True)
    frozen = subprocess.run(
        ["uv", "pip", "freeze", "--python", there], check=True, capture_output=True, text=True
    ).stdout
    (scratch / "frozen.txt").write_text(
        "\n".join(line for line in frozen.splitlines() if not line.startswith("lazypyr"))
    )
    run(there, "-m", "ensurepip", stderr=subprocess.DEVNULL)
    run(there, "-m", "pip", "download", "-qq", "--no-deps", "-d", wheels, "-r", scratch / "frozen.txt")
    run(there, "-c", "import lazypyr")  # compiles it
    times = sorted(run(there, "-c", "import lazypyr; lazypyr.LazyPyramidStore") for _ in range(ROUNDS))
    empty = sorted(run(there, "-c", "") for _ in range(ROUNDS))
    return size(wheels) + wheel.stat().st_size, installed, seconds, times[ROUNDS // 2] - empty[ROUNDS // 2]


def main(pythons):
    print(
        "| Python | versions | what | packages' download, MB | installed, MB | fresh install, s | warm, s | import, s |"
    )
    print("|---|---|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        scratch = Path(folder)
        run("uv", "build", "--quiet", "--wheel", "--out-dir", scratch, ROOT)
        wheel = next(scratch.glob("*.whl"))
        floors = scratch / "floors.txt"
        lowest = ["--no-deps", "--resolution", "lowest-direct", "--extra", "all", "--python", pythons[0]]
        run("uv", "pip", "compile", "--quiet", *lowest, ROOT / "pyproject.toml", "--output-file", floors)
        ends = [(pythons[0], "lowest", ["--constraints", floors]), *((python, "newest", []) for python in pythons)]
        for python, name, pins in ends:
            for extra in ("", "all"):
                down, disk, seconds, loading = measure(python, extra, pins, wheel, scratch)
                cells = [
                    python,
                    name,
                    f"lazypyr[{extra}]" if extra else "lazypyr",
                    f"{down / 1e6:.0f}",
                    f"{disk / 1e6:.0f}",
                ]
                cells += [f"{seconds['fresh']:.1f}", f"{seconds['warm']:.1f}", f"{loading:.2f}"]
                print("| " + " | ".join(cells) + " |", flush=True)


main(sys.argv[1:] or ["3.11"])
