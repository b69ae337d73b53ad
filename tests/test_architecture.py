"""Structure of the package: imports run one way, optional packages stay where they are used (docs/design.md, section 1)."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parents[1] / "lazypyr"

# Optional packages: the rooms that may import them.
OPTIONAL = {
    "holoviews": {"plot", "cli"},
    "bokeh": {"plot", "server", "products", "cli"},
    "panel": {"plot", "cli"},
    "matplotlib": {"products"},
    "PIL": {"plot", "server", "demo", "cli"},
    "dask": {"sources", "writing", "representations"},
    "distributed": {"writing"},
    "starlette": {"server"},
    "uvicorn": {"server", "cli"},
    "xarray": {"sources", "representations"},
    "h5py": {"sources"},
    "pyproj": {"metadata"},
    "rasterio": {"sources"},
    "tifffile": {"sources"},
    "imagecodecs": {"sources"},
    "laspy": {"points"},
    "pandas": {"points"},
    "pyarrow": {"points"},
    "zarr_vectors": {"points"},
    "rich": {"_util", "cli"},
    "tensorstore": {"sources"},
    "neuroglancer": {"viewers"},
    "napari": {"viewers"},
    "s3fs": set(),
    "obstore": {"sources"},
}
# The faces that zarr and HTTP call, the mapping that zarr reads metadata through, the loop that fetches far chunks.
ASYNC = (
    "engine/wait.py",
    "store/",
    "server/",
    "kvstore/",
    "sources/bounded.py",
    "sources/walk.py",
    "sources/mapping_store.py",
    "sources/read_only_store.py",
    "sources/far/",
)
# Rooms that exist only for their optional packages: beyond their __init__, modules may import them at the top.
WHOLLY_OPTIONAL = {"server", "plot"}
# Modules that only their optional package imports, which finds them by an entry point.
PLUGINS = {"representations/xarray_engine.py"}


def modules():
    for path in sorted(PACKAGE.rglob("*.py")):
        parts = path.relative_to(PACKAGE).with_suffix("").parts
        if parts != ("__init__",):
            yield path, parts[0], ast.parse(path.read_text(encoding="utf-8"))


def imports(tree, package):
    """(dotted name, line, stands inside a function) of each import, relative ones resolved."""
    inside = {
        id(n) for f in ast.walk(tree) if isinstance(f, ast.FunctionDef | ast.AsyncFunctionDef) for n in ast.walk(f)
    }
    attributes = [node for node in ast.walk(tree) if isinstance(node, ast.Attribute)]
    used = sorted({f"lazypyr.{a.attr}" for a in attributes if getattr(a.value, "id", "") == "lazypyr"})
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                names = used if alias.name == "lazypyr" else [alias.name]
                yield from ((name, node.lineno, id(node) in inside) for name in names)
        elif isinstance(node, ast.ImportFrom):
            base = (
                ".".join([*package[: len(package) - node.level + 1], *filter(None, [node.module])])
                if node.level
                else node.module
            )
            names = [f"{base}.{alias.name}" for alias in node.names] if base == "lazypyr" else [base]
            yield from ((name, node.lineno, id(node) in inside) for name in names)
        elif (
            isinstance(node, ast.Call)
            and getattr(node.func, "id", "") == "need"
            and isinstance(node.args[0], ast.Constant)
        ):
            yield node.args[0].value, node.lineno, id(node) in inside


def every_import():
    for path, room, tree in modules():
        package = ("lazypyr", *path.relative_to(PACKAGE).parent.parts)
        for name, line, inside in imports(tree, package):
            yield path, room, name, f"{path.relative_to(PACKAGE.parent)}:{line}", inside


def test_imports_run_one_way():
    checked = subprocess.run(
        [Path(sys.executable).with_name("lint-imports")],
        cwd=PACKAGE.parent,
        capture_output=True,
        text=True,
        check=False,
    )
    assert checked.returncode == 0, checked.stdout + checked.stderr


def test_no_modules_import_each_other_in_a_circle():
    paths = {".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts): path for path in PACKAGE.rglob("*.py")}
    trees = {
        name.removesuffix(".__init__"): ast.parse(path.read_text(encoding="utf-8")) for name, path in paths.items()
    }
    imported = {name: set() for name in trees}
    for name, tree in trees.items():
        for node in ast.walk(tree):
            if isinstance(node, ast.Import):
                imported[name] |= {alias.name for alias in node.names} & trees.keys()
            elif isinstance(node, ast.ImportFrom) and node.module in trees:
                members = (f"{node.module}.{alias.name}" for alias in node.names)
                imported[name] |= {member if member in trees else node.module for member in members} - {name}
    TopologicalSorter(imported).prepare()  # raises CycleError, with the circle


def test_arithmetic_knows_no_zarr():
    wrong = [
        where
        for _, room, name, where, _ in every_import()
        if room in ("geometry", "reducers") and name.split(".")[0] == "zarr"
    ]
    assert not wrong


def test_optional_packages_stay_in_their_rooms():
    wrong = []
    for path, room, name, where, inside in every_import():
        package = name.split(".")[0]
        if package not in OPTIONAL:
            continue
        is_late = path.stem != "__init__" and room in WHOLLY_OPTIONAL
        early = not (inside or is_late or path.relative_to(PACKAGE).as_posix() in PLUGINS)
        if room not in OPTIONAL[package] or early:
            wrong.append(f"{where}: {name}" + (" at import time" if early else f" in {room}"))
    assert not wrong, "\n".join(wrong)


def test_async_lives_in_the_faces_only():
    wrong = []
    for path, _, tree in modules():
        allowed = path.relative_to(PACKAGE).as_posix().startswith(ASYNC)
        for node in ast.walk(tree):
            if isinstance(node, ast.Attribute) and node.attr == "to_thread":  # deadlocks zarr's loop: design, section 6
                wrong.append(f"{path.name}:{node.lineno}: to_thread")
            if not allowed and isinstance(node, ast.AsyncFunctionDef | ast.Await | ast.AsyncFor | ast.AsyncWith):
                wrong.append(f"{path.name}:{node.lineno}: async")
        names = [name for name, *_ in imports(tree, ("lazypyr",))]
        if not allowed and any(name.split(".")[0] == "asyncio" for name in names):
            wrong.append(f"{path.name}: asyncio")
    assert not wrong, "\n".join(wrong)


def test_nothing_is_decided_by_a_name():
    """Behaviour follows facts on objects: no class name is compared, nor the name of a reducer or product elsewhere."""
    from lazypyr.product import NAMES
    from lazypyr.reducers import REDUCERS

    words, wrong = {*NAMES, *REDUCERS}, []
    for path, room, tree in modules():
        for node in ast.walk(tree):
            parts = [node.subject] if isinstance(node, ast.Match) else []
            parts += [node.left, *node.comparators] if isinstance(node, ast.Compare) else []
            for part in (inner for outer in parts for inner in ast.walk(outer)):
                of_class = isinstance(part, ast.Attribute) and part.attr in ("__name__", "__qualname__")
                of_class = of_class and ("type" in ast.dump(part.value) or "__class__" in ast.dump(part.value))
                listed = isinstance(part, ast.Constant) and part.value in words
                # a colour map is called "phase" too
                listed = (
                    listed and room not in ("reducers", "products", "points") and "colormap" not in ast.unparse(node)
                )
                if of_class or listed:
                    wrong.append(f"{path.relative_to(PACKAGE)}:{part.lineno}: {ast.unparse(node)[:80]}")
    assert not wrong, "\n".join(wrong)


# Plots of points ask a cloud for what no other pyramid has: the points in a box, and the nearest one.
ASKED_FOR = {("plot", "PointsPyramid")}


def test_kinds_are_told_apart_only_where_they_are_defined():
    """No ladder of `isinstance` that a new pyramid, source, reducer, product or key-value store would have to join."""
    trees = list(modules())
    bases, homes = {}, {}
    for _, room, tree in trees:
        for node in ast.walk(tree):
            if isinstance(node, ast.ClassDef):
                bases[node.name] = {re.sub(r"\[.*", "", ast.unparse(base)).split(".")[-1] for base in node.bases}
                homes[node.name] = room
    general = {"Pyramid", "Source", "Reducer", "Product", "KVStore"}
    kinds = set(general)
    while more := {name for name in bases if bases[name] & kinds} - kinds:
        kinds |= more
    wrong = []
    for path, room, tree in trees:
        for node in ast.walk(tree):
            if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "isinstance":
                asked = {getattr(part, "id", getattr(part, "attr", "")) for part in ast.walk(node.args[1])} & kinds
                strange = {name for name in asked - general if homes[name] != room} - {
                    n for r, n in ASKED_FOR if r == room
                }
                wrong += [f"{path.relative_to(PACKAGE)}:{node.lineno}: {name}" for name in strange]
    assert not wrong, "\n".join(wrong)


def test_files_stay_short():
    lengths = {
        str(path.relative_to(PACKAGE)): path.read_text(encoding="utf-8").count("\n") for path in PACKAGE.rglob("*.py")
    }
    assert not {name: n for name, n in lengths.items() if n > 400}


def test_no_marks_of_unfinished_work():
    wrong = []
    for path in PACKAGE.rglob("*.py"):
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
            if any(word in line for word in ("TODO", "FIXME", "XXX", "raise NotImplementedError")):
                wrong.append(f"{path.name}:{number}: {line.strip()}")
    assert not wrong, "\n".join(wrong)


def test_importing_costs_little():
    heavy = [
        "numba",
        "scipy",
        "dask",
        "xarray",
        "holoviews",
        "bokeh",
        "starlette",
        "pandas",
        "PIL",
        "laspy",
        "rich",
        "tensorstore",
    ]
    code = f"import sys, lazypyr; print(*sorted(set({heavy!r}) & set(sys.modules)))"
    answer = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=PACKAGE.parent, timeout=100
    )
    assert answer.stdout.split() == []


def test_ci_runs_the_commands_of_the_readme():
    root = PACKAGE.parent
    readme = (root / "README.md").read_text(encoding="utf-8").splitlines()
    assert "pip install '.[all]' && lazypyr demo" in readme
    command = "pip install -e '.[all,test]' && pytest"
    pattern = "^pip install -e .* && pytest$"
    assert [line for line in readme if re.search(pattern, line)] == [command]
    script = (root / ".ci" / "run").read_text(encoding="utf-8")
    assert f"grep -m1 -E '{pattern}' README.md" in script
    assert 'eval "$test_command"' in script
    parts = set(re.findall(r"^(\w+)\(\) \{", script, re.MULTILINE))
    listed = re.search(r"^for part in \$\{@:-([\w ]+)\}; do$", script, re.MULTILINE)[1].split()
    assert {"lint", "types", "test", "oldest", "newest"} == set(listed) <= parts, "without arguments CI runs them all"
    documented = (root / "docs" / "contributing.md").read_text(encoding="utf-8")
    assert all(f"`{part}`" in documented for part in [*listed, "browser", "docs"])


def test_top_level_holds_what_was_agreed():
    listed = subprocess.run(["git", "ls-files"], cwd=PACKAGE.parent, capture_output=True, text=True, check=False)
    if listed.returncode != 0:
        pytest.skip("not a git checkout: what would be committed isn't known")
    top = {name.split("/")[0] for name in listed.stdout.splitlines()}
    assert {name for name in top if not name.startswith(".")} == {
        "LICENSE",
        "README.md",
        "benchmarks",
        "docs",
        "lazypyr",
        "pyproject.toml",
        "tests",
    }


def test_links_of_the_readme_are_whole():
    """A registry shows it without the files beside it; below the sites that pyproject.toml names lie the files of this tree."""
    root = PACKAGE.parent
    text, facts = (
        (root / "README.md").read_text(encoding="utf-8"),
        (root / "pyproject.toml").read_text(encoding="utf-8"),
    )
    docs, code = (re.search(rf'^{name} = "(.*)"$', facts, re.MULTILINE)[1] for name in ("Documentation", "Source"))
    for link in re.findall(r"\]\(([^)#\s]+)", text):
        assert "://" in link, link
        if link.startswith(docs):
            assert (root / "docs" / f"{link.removeprefix(docs).strip('/') or 'index'}.md").is_file(), link
        elif link.startswith(code):
            _, branch, path = link.removeprefix(f"{code}/").split("/", 2)
            assert branch == "main" and (root / path).exists(), link


def test_links_of_the_docs_lead_somewhere():
    root = PACKAGE.parent
    pages = [root / "README.md", *(root / "docs").rglob("*.md"), *(root / "benchmarks").glob("*.md")]
    links = [(page, link) for page in pages for link in re.findall(r"\]\(([^)#\s]+)", page.read_text(encoding="utf-8"))]
    dead = [
        f"{page.relative_to(root)}: {link}"
        for page, link in links
        if "://" not in link and not (page.parent / link).exists()
    ]
    assert not dead, "\n".join(dead)
