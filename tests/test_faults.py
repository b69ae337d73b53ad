"""Every fault that lazypyr promises to survive has a test that carries its id."""

from __future__ import annotations

import ast
from pathlib import Path

HERE = Path(__file__).resolve().parent

# Ids whose capability has not landed. It only shrinks: an id that some test covers may not stand here.
PENDING: set[str] = set()


def known_ids():
    lines = (HERE / "fault_ids.txt").read_text(encoding="utf-8").splitlines()
    return {line.split(maxsplit=1)[0] for line in lines if line and not line.startswith("#")}


def ids_in(source):
    """Ids in ``pytest.mark.fault(...)``, wherever it stands: a decorator, `pytestmark`, the marks of a parameter."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "fault":
            yield from (arg.value for arg in node.args if isinstance(arg, ast.Constant))


def covered_ids():
    tests = [path for path in sorted(HERE.rglob("test_*.py")) if path != Path(__file__).resolve()]
    return {(fault, path.name) for path in tests for fault in ids_in(path.read_text(encoding="utf-8"))}


def test_ids_are_found_wherever_they_stand():
    source = """
pytestmark = [pytest.mark.fault("A1")]
@pytest.mark.fault("B2", "B3")
async def test(): ...
@pytest.mark.parametrize("x", [pytest.param(1, marks=pytest.mark.fault("C4"))])
def test(x): ...
"""
    assert set(ids_in(source)) == {"A1", "B2", "B3", "C4"}


def test_marks_name_known_faults():
    unknown = {(fault, name) for fault, name in covered_ids() if fault not in known_ids()}
    assert not unknown, f"not in fault_ids.txt: {sorted(unknown)}"


def test_every_fault_is_covered():
    missing = known_ids() - {fault for fault, _ in covered_ids()} - PENDING
    assert not missing, f"no test carries pytest.mark.fault for {sorted(missing)}"


def test_pending_shrinks():
    done = PENDING & {fault for fault, _ in covered_ids()}
    assert not done, f"covered now, so no longer pending: {sorted(done)}"
    assert known_ids() >= PENDING
