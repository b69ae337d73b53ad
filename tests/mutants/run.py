"""Put one small fault at a time into a copy of the package, and see that the tests that carry its id fail.

    python tests/mutants/run.py            all of them, some half an hour on two cores
    python tests/mutants/run.py S2 C5 N9   those of some ids
    python tests/mutants/run.py --applies  whether each can still be put in; no test is run

`.ci/run mutants` runs them all. What no longer applies is a failure, and so is an id of `tests/fault_ids.txt` that has none.
"""

from __future__ import annotations

import argparse
import ast
import os
import queue
import re
import shutil
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
sys.path[:0] = [str(HERE), str(HERE.parent)]

from table import MUTANTS, Mutant  # noqa: E402
from test_faults import ids_in, known_ids  # noqa: E402

COPIED = ("lazypyr", "tests", "docs", "benchmarks", "README.md", "LICENSE", "pyproject.toml", ".ci")
# Those that drive a browser or install packages also fail for want of it.
SELECTED = "not network and not browser"


class NoLongerApplies(Exception):
    """The function, or what is replaced in it, is not there any more."""


class _Replacer(ast.NodeTransformer):
    """Replace each node that is written like `old`."""

    def __init__(self, old: str, new: str) -> None:
        self.found = 0
        (statement,) = ast.parse(old).body
        self._expression = ast.dump(statement.value) if isinstance(statement, ast.Expr) else None
        self._statement, self._new = ast.dump(statement), new

    def visit(self, node: ast.AST) -> ast.AST | list[ast.stmt]:
        if isinstance(node, ast.stmt) and ast.dump(node) == self._statement:
            self.found += 1
            return ast.parse(self._new or "pass").body
        # The same name is written to elsewhere: only what is read is an expression.
        if self._expression is not None and isinstance(node, ast.expr) and ast.dump(node) == self._expression:
            self.found += 1
            return ast.parse(self._new, mode="eval").body
        return self.generic_visit(node)


def _function(tree: ast.Module, name: str) -> ast.AST:
    """Function or class by its qualified name; the module itself for the empty one."""
    node: ast.AST = tree
    for part in filter(None, name.split(".")):
        inside = [n for n in ast.walk(node) if n is not node and getattr(n, "name", None) == part]
        if not inside:
            raise NoLongerApplies(f"no {name}")
        node = inside[0]
    return node


def mutated(source: str, mutant: Mutant) -> str:
    """Source text of a module with the fault in it."""
    tree = ast.parse(source)
    replacer = _Replacer(mutant.old, mutant.new)
    replacer.generic_visit(_function(tree, mutant.function))
    if not replacer.found:
        raise NoLongerApplies(f"{mutant.function} has no {mutant.old!r}")
    return ast.unparse(ast.fix_missing_locations(tree)) + "\n"


def carriers() -> dict[str, list[str]]:
    """Files of the tests that carry each id."""
    files: dict[str, list[str]] = {}
    for path in sorted((ROOT / "tests").rglob("test_*.py")):
        if path.name != "test_faults.py" or path.parent.name != "tests":
            for fault in set(ids_in(path.read_text(encoding="utf-8"))):
                files.setdefault(fault, []).append(str(path.relative_to(ROOT)))
    return files


def outcome(tree: Path, mutant: Mutant, files: list[str], timeout_s: float) -> tuple[str, str]:
    """One of caught, SURVIVED, BROKEN (nothing could be run), and what told."""
    module = tree / "lazypyr" / mutant.module
    original = module.read_text(encoding="utf-8")
    # Those of the same subpackage first: they are the likeliest to tell, and none runs after it.
    files = sorted(files, key=lambda file: file.split("/")[1] != mutant.module.split("/")[0])
    command = [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", "-m", SELECTED]
    environment = {**os.environ, "PYTHONPATH": str(tree)}
    try:
        module.write_text(mutated(original, mutant), encoding="utf-8")
        process = subprocess.Popen(
            [*command, "--fault", mutant.fault, *files], cwd=tree, env=environment, text=True, start_new_session=True,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )  # fmt: skip
        try:
            said, _ = process.communicate(timeout=timeout_s)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, 9)
            process.communicate()
            return "caught", f"hangs: stopped after {timeout_s:g} s"
    finally:
        # With its time of change, so that what numba has compiled of it is found again.
        shutil.copy2(ROOT / "lazypyr" / mutant.module, module)
    told = re.search(r"^FAILED (\S+)", said, re.MULTILINE)
    hang = re.search(r"^.*Timeout.*$", said, re.MULTILINE)
    if process.returncode == 1 and told:
        return "caught", told[1].removeprefix("tests/")
    if process.returncode == 1 and hang:  # pytest-timeout ends the process: a hang is a failure
        return "caught", hang[0].strip("+ ")
    if process.returncode == 0:
        return "SURVIVED", said.strip().splitlines()[-1]
    return "BROKEN", (said.strip().splitlines() or ["nothing was said"])[-1]


def copied(folder: Path) -> Path:
    for name in COPIED:
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, folder / name, ignore=shutil.ignore_patterns("*.pyc", "node_modules"))
        elif source.exists():
            shutil.copy2(source, folder / name)
    return folder


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("ids", nargs="*", help="ids of faults; all by default")
    parser.add_argument("--applies", action="store_true", help="run no test")
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--timeout", type=float, default=300.0, metavar="SECONDS", help="of each")
    args = parser.parse_args()
    chosen = [mutant for mutant in MUTANTS if not args.ids or mutant.fault in args.ids]
    missing = sorted((set(args.ids) or known_ids()) - {mutant.fault for mutant in MUTANTS})
    stale = []
    for mutant in chosen:
        try:
            mutated((ROOT / "lazypyr" / mutant.module).read_text(encoding="utf-8"), mutant)
        except (NoLongerApplies, FileNotFoundError) as error:
            stale.append(f"{mutant.fault} {mutant.module}: {error}")
    results = (
        []
        if args.applies
        else _run([m for m in chosen if not any(s.startswith(f"{m.fault} {m.module}:") for s in stale)], args)
    )
    bad = [line for line in results if not line[1].startswith("caught")]
    for line in stale:
        print(f"NO LONGER APPLIES  {line}")
    if missing:
        print(f"NO MUTANT  {', '.join(missing)}")
    caught = len(results) - len(bad)
    print(
        f"{len(chosen)} mutants, {caught} caught, {len(bad)} not, {len(stale)} no longer apply, {len(missing)} ids without one"
    )
    return 1 if bad or stale or missing else 0


def _run(mutants: list[Mutant], args: argparse.Namespace) -> list[tuple[str, str]]:
    files = carriers()
    with tempfile.TemporaryDirectory(prefix="mutants-") as folder:
        trees: queue.SimpleQueue[Path] = queue.SimpleQueue()
        for number in range(args.jobs):
            trees.put(copied(Path(folder, str(number))))

        def one(mutant: Mutant) -> tuple[str, str]:
            tree, began = trees.get(), time.monotonic()
            try:
                verdict, told = outcome(tree, mutant, files.get(mutant.fault, []), args.timeout)
            finally:
                trees.put(tree)
            where = f"{mutant.module} {mutant.function}"
            print(f"{verdict:9} {mutant.fault:4} {where:60} {time.monotonic() - began:4.0f} s  {told}", flush=True)
            return mutant.fault, verdict

        with ThreadPoolExecutor(args.jobs) as pool:
            return list(pool.map(one, mutants))


if __name__ == "__main__":
    sys.exit(main())
