"""What all benchmarks share: interleaved timing, ratios, tables, peak memory, and what machine it was.

Absolute times of a shared machine drift by a factor of two within minutes; so contenders take turns in one run, and what is
claimed is the ratio of their medians.

    from _bench import Report, paired

    report = Report("tiles", "Cold and warm tiles", packages=["zarr", "tensorstore"])
    report.add("cold tile, level 3", paired({"lazypyr": ours, "tensorstore": theirs}, repeats=9), reach=1.2)
    report.save()  # benchmarks/results/tiles.json, .md, and the place for it in docs/benchmarks.md

Run as a script it runs the benchmarks one after the other, each in its own process: ``python benchmarks/_bench.py [NAME ...]``.
"""

from __future__ import annotations

import gc
import json
import math
import os
import platform
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
RESULTS = HERE / "results"
DOCS = ROOT / "docs" / "benchmarks.md"
OURS = "lazypyr"


@dataclass
class Timing:
    """Seconds of each repetition of one contender, and its peak memory in bytes where it was measured."""

    seconds: list[float]
    peak_bytes: int | None = None

    @property
    def median(self) -> float:
        return statistics.median(self.seconds)

    def quantile(self, q: float) -> float:
        """The smallest time that a share `q` of the repetitions did not exceed."""
        return sorted(self.seconds)[max(0, math.ceil(q * len(self.seconds)) - 1)]


def paired(
    contenders: Mapping[str, Callable[..., object]],
    *,
    repeats: int = 7,
    setup: Mapping[str, Callable[[], object]] | None = None,
    number: int = 1,
) -> dict[str, Timing]:
    """Time contenders in turns, each turn beginning with another one.

    Parameters
    ----------
    contenders : mapping of name to callable
    repeats : int
        Turns; the first one more is thrown away (compilation, file cache).
    setup : mapping of name to callable, optional
        Runs untimed before each turn of its contender (a new cache for a cold read); what it returns is the
        contender's only argument.
    number : int
        Calls a turn, for what takes microseconds; times are of one call.
    """
    names, out = list(contenders), {name: Timing([]) for name in contenders}
    for turn in range(repeats + 1):
        first = turn % len(names)
        for name in names[first:] + names[:first]:
            prepare = (setup or {}).get(name)
            args = (prepare(),) if prepare else ()
            call = contenders[name]
            gc.collect()
            begin = time.perf_counter()
            for _ in range(number):
                call(*args)
            elapsed = (time.perf_counter() - begin) / number
            if turn:
                out[name].seconds.append(elapsed)
    return out


# exec hands a child the peak of the process that forked it, so a small one stands between: it starts the measured command.
_LAUNCHER = """
import json, resource, subprocess, sys, time
begin = time.perf_counter()
code = subprocess.call(sys.argv[2:])
elapsed = time.perf_counter() - begin
peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
json.dump([code, elapsed, peak], open(sys.argv[1], "w"))
"""


def in_process(
    argv: Sequence[str | os.PathLike[str]],
    *,
    python: str = sys.executable,
    env: Mapping[str, str] | None = None,
    timeout_s: float = 1800.0,
) -> tuple[Any, Timing]:
    """Run ``python *argv`` in a fresh process: the JSON of its last line (None without one), its wall time and peak RSS.

    The peak is the largest of that process and its children that ended, as the kernel kept it (``ru_maxrss``).
    """
    with tempfile.TemporaryDirectory() as folder:
        record = Path(folder) / "record.json"
        launcher = [sys.executable, "-I", "-S", "-c", _LAUNCHER, record, python, *argv]
        done = subprocess.run(
            [os.fspath(part) for part in launcher],
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, **(env or {})},
            timeout=timeout_s,
            check=True,
        )
        code, elapsed, peak = json.loads(record.read_text(encoding="utf-8"))
    lines = done.stdout.splitlines()
    if code:
        raise RuntimeError(f"{argv} ended with {code}: {lines[-3:]}")
    try:
        answer = json.loads(lines[-1]) if lines else None
    except json.JSONDecodeError:
        answer = None
    return answer, Timing([elapsed], peak * (1 if sys.platform == "darwin" else 1024))


def machine() -> dict[str, Any]:
    """What it ran on."""
    cpu = platform.processor() or platform.machine()
    memory = None
    if sys.platform == "linux":
        found = re.search(r"model name\s*:\s*(.*)", Path("/proc/cpuinfo").read_text(encoding="utf-8"))
        cpu = found[1] if found else cpu
        memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return {
        "cpu": cpu,
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "memory_bytes": memory,
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
    }


def versions(packages: Sequence[str]) -> dict[str, str]:
    """Versions of distributions; "-" where one isn't installed here."""
    out = {}
    for package in packages:
        try:
            out[package] = version(package)
        except PackageNotFoundError:
            out[package] = "-"
    return out


@dataclass
class Report:
    """The table of one benchmark: a row a task, a column a contender, ours the one that ratios refer to."""

    name: str
    title: str
    packages: Sequence[str] = ()
    ours: str = OURS
    rows: list[dict[str, Any]] = field(default_factory=list)

    def add(self, task: str, timings: Mapping[str, Timing], *, reach: float | None = None, note: str = "") -> None:
        """Add a task. `reach` is how many times faster than the best rival it should be (1.2: a fifth; 0.5: at most twice its time)."""
        rivals = [t.median for name, t in timings.items() if name != self.ours]
        faster = min(rivals) / timings[self.ours].median if rivals and self.ours in timings else None
        row = {"task": task, "faster": faster, "reach": reach, "note": note, "timings": {}}
        for name, timing in timings.items():
            row["timings"][name] = {"median_s": timing.median, **asdict(timing)}
        self.rows.append(row)
        print(self.markdown_row(row, list(timings)), flush=True)

    def markdown_row(self, row: Mapping[str, Any], names: Sequence[str]) -> str:
        cells = [row["task"]]
        for name in names:
            timing = row["timings"].get(name)
            cells.append("" if timing is None else _seconds(timing["median_s"]) + _peak(timing["peak_bytes"]))
        cells.append("" if row["faster"] is None else f"{row['faster']:.2f} x")
        met = row["reach"] is not None and row["faster"] is not None and row["faster"] >= row["reach"]
        cells.append("" if row["reach"] is None else f"{row['reach']:g} x: {'yes' if met else '**no**'}")
        return "| " + " | ".join([*cells, row["note"]]) + " |"

    def markdown(self) -> str:
        """The table, with machine and versions beneath."""
        names = list(dict.fromkeys(name for row in self.rows for name in row["timings"]))
        head = ["task", *names, "ours is faster by", "reach", "note"]
        lines = [f"### {self.title}", "", "| " + " | ".join(head) + " |", "|---" * len(head) + "|"]
        lines += [self.markdown_row(row, names) for row in self.rows]
        here = machine()
        memory = f", {here['memory_bytes'] / 2**30:.0f} GiB" if here["memory_bytes"] else ""
        used = ", ".join(f"{k} {v}" for k, v in versions(self.packages).items())
        lines += ["", f"Medians; {here['cores']} cores of {here['cpu']}{memory}, Python {here['python']}; {used}."]
        return "\n".join(lines)

    def save(self) -> None:
        """Write JSON and Markdown into benchmarks/results, and the table into its place in docs/benchmarks.md."""
        RESULTS.mkdir(exist_ok=True)
        record = {"title": self.title, "machine": machine(), "versions": versions(self.packages), "rows": self.rows}
        (RESULTS / f"{self.name}.json").write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
        (RESULTS / f"{self.name}.md").write_text(self.markdown() + "\n", encoding="utf-8")
        into_docs(self.name, self.markdown())


def into_docs(name: str, markdown: str) -> None:
    """Replace what stands between ``<!-- bench:NAME -->`` and ``<!-- /bench:NAME -->``, or add it at the end."""
    begin, end = f"<!-- bench:{name} -->", f"<!-- /bench:{name} -->"
    text = DOCS.read_text(encoding="utf-8") if DOCS.exists() else "# Benchmarks\n"
    block = f"{begin}\n{markdown}\n{end}"
    if begin in text:
        before, rest = text.split(begin, 1)
        text = before + block + rest.split(end, 1)[1]
    else:
        text = text.rstrip() + f"\n\n{block}\n"
    DOCS.write_text(text, encoding="utf-8")


def _seconds(value: float) -> str:
    for limit, scale, unit in ((1e-3, 1e6, "µs"), (1.0, 1e3, "ms")):
        if value < limit:
            return f"{value * scale:.3g} {unit}"
    return f"{value:.3g} s"


def _peak(value: int | None) -> str:
    return "" if value is None else f", {value / 2**20:.0f} MiB"


def main() -> int:
    """Run the named benchmarks, or all, each in its own process."""
    wanted = sys.argv[1:] or sorted(path.stem.removeprefix("bench_") for path in HERE.glob("bench_*.py"))
    failed = [name for name in wanted if subprocess.call([sys.executable, HERE / f"bench_{name}.py"])]
    if failed:
        print(f"failed: {', '.join(failed)}", file=sys.stderr)
    return int(bool(failed))


if __name__ == "__main__":
    sys.exit(main())
