"""Tokens: what makes two values the same, in any process, under any Python and numpy, after any move."""

import dataclasses
import enum
import functools
import importlib.util
import pickle
import re
import subprocess
import sys
import textwrap
import threading
from pathlib import Path

import cloudpickle
import numba
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import lazypyr
from lazypyr._util.tokenize import Versioned, tokenize
from lazypyr.products.base import Product
from lazypyr.reducers import reducer


@pytest.fixture
def module_of(tmp_path):
    """Imports a text as a module of a name and a folder of its own."""
    count = iter(range(100))

    def imported(text, name="theirs"):
        path = tmp_path / str(next(count)) / f"{name}.py"
        path.parent.mkdir()
        path.write_text(textwrap.dedent(text))
        spec = importlib.util.spec_from_file_location(name, path)
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        return module

    return imported


F = "def f(z, i=1):\n    return z[i] + 1\n"
SAME = {
    "another line": (F, "import os\n\n\n" + F),
    "a decorator": (F, "def d(f): return f\n@d\n" + F),
    "decorator's options": ("def d(n): return lambda f: f\n@d(1)\n" + F, "def d(n): return lambda f: f\n@d(2)\n" + F),
    "indentation": (F, "def make():\n" + textwrap.indent(F, "    ") + "    return f\nf = make()"),
    "comments and empty lines": (F, "def f(z, i=1):\n    # one more\n\n    return z[i] + 1\n"),
    "docstring": (F, 'def f(z, i=1):\n    """One more.\n\n    Or two.\n    """\n    return z[i] + 1\n'),
    "a name that is not used": ("A = 1\n" + F, "A = 2\n" + F),
    "a local of a global's name": ("z = 1\n" + F, "z = 2\n" + F),
    "what follows a lambda": ("f = lambda z: z[0] + 1", "g, f = len, (lambda z: z[0] + 1)  # more"),
    "another lambda on the line": ("f, g = lambda z: z + 1, lambda z: z + 2", "f, g = lambda z: z + 1, lambda z: 3"),
    "imports of Python and numpy": ("import numpy as np\ndef f(z): return np.angle(z)",) * 2,
    "a helper's place": (
        "def g(z): return z * 2\ndef f(z): return g(z)",
        "A = 1\ndef f(z): return g(z)\ndef g(z): return z * 2",
    ),
    "functions that call each other": (
        "def f(z): return g(z) if z else 1\ndef g(z): return f(z - 1)",
        "def g(z): return f(z - 1)\ndef f(z): return g(z) if z else 1",
    ),
    "order of a mapping": ("A = {1: 2, 'b': 3}\ndef f(z): return A[z]", "A = {'b': 3, 1: 2}\ndef f(z): return A[z]"),
    "a generated method of a dataclass": (
        "from dataclasses import dataclass\n@dataclass\nclass P:\n    n: int = 2\ndef f(z): return P(3).n",
    )
    * 2,
}
WRAPS = "import functools\ndef d(f):\n    @functools.wraps(f)\n    def g(z): return f(z)\n    return g\n"
OTHER = {
    "text": (F, F.replace("+ 1", "+ 2")),
    "default": (F, F.replace("i=1", "i=2")),
    "default's value": ("A = 1\ndef f(z, i=A): return i", "A = 2\ndef f(z, i=A): return i"),
    "a default by keyword": ("A = 1\ndef f(z, *, i=A): return i", "A = 2\ndef f(z, *, i=A): return i"),
    "global": ("A = 1\ndef f(z): return A", "A = 2\ndef f(z): return A"),
    "global of another type": ("A = 1\ndef f(z): return A", "A = 1.0\ndef f(z): return A"),
    "global of an inner function": ("A = 1\ndef f(z): return [A for _ in z]", "A = 2\ndef f(z): return [A for _ in z]"),
    "closure": (
        "def make(n):\n    return lambda z: z * n\nf = make(1)",
        "def make(n):\n    return lambda z: z * n\nf = make(2)",
    ),
    "lambda": ("f, g = lambda z: z + 1, lambda z: z + 2", "g, f = lambda z: z + 1, lambda z: z + 2"),
    "lambda inside": ("f = lambda z: lambda y: y", "f = (lambda z: lambda y: y)(0)"),
    "a helper": (
        "def g(z): return z * 2\ndef f(z): return g(z)",
        "def g(z): return z * 3\ndef f(z): return g(z)",
    ),
    "a helper's global": (
        "A = 1\ndef g(z): return z * A\ndef f(z): return g(z)",
        "A = 2\ndef g(z): return z * A\ndef f(z): return g(z)",
    ),
    "the function behind a decorator": (
        WRAPS + "@d\ndef f(z): return 1",
        WRAPS + "@d\ndef f(z): return 2",
    ),
    "a function that wraps an installed one": (
        "import functools, numpy\n@functools.wraps(numpy.mean)\ndef f(z): return 1",
        "import functools, numpy\n@functools.wraps(numpy.mean)\ndef f(z): return 2",
    ),
    "a method": (
        "class M:\n    def g(self): return 1\ndef f(z): return M().g()",
        "class M:\n    def g(self): return 2\ndef f(z): return M().g()",
    ),
    "a constant of a class": (
        "class M:\n    a = 1\ndef f(z): return M.a",
        "class M:\n    a = 2\ndef f(z): return M.a",
    ),
    "an instance": (
        "class M:\n    def __init__(self, n): self.n = n\nm = M(1)\ndef f(z): return m.n",
        "class M:\n    def __init__(self, n): self.n = n\nm = M(2)\ndef f(z): return m.n",
    ),
    "a cached function": (
        "import functools\n@functools.cache\ndef f(z): return 1",
        "import functools\n@functools.cache\ndef f(z): return 2",
    ),
    "which function of a package": ("from numpy import sin\ndef f(z): return sin(z)", "from numpy import cos as sin\ndef f(z): return sin(z)"),
    "text in a string": ('def f(z):\n    return """a\n  b"""\n', 'def f(z):\n    return """a\n b"""\n'),
}  # fmt: skip


@pytest.mark.parametrize("pair", SAME.values(), ids=SAME)
def test_functions_that_do_the_same(module_of, pair):
    one, two = (module_of(text, name) for text, name in zip(pair, ("one", "two"), strict=True))
    assert tokenize(one.f) == tokenize(two.f)
    assert tokenize(one.f) == tokenize(one.f)


@pytest.mark.parametrize("pair", OTHER.values(), ids=OTHER)
def test_functions_that_do_something_else(module_of, pair):
    one, two = map(module_of, pair)
    assert tokenize(one.f) != tokenize(two.f)


def test_a_function_of_a_users_module_counts_by_its_text(module_of, monkeypatch):
    tokens = []
    for n in (1, 2):
        monkeypatch.setitem(sys.modules, "helpers", module_of(f"def g(z): return {n}\ndef h(z): return {n}", "helpers"))
        tokens += [tokenize(module_of(f"import helpers\ndef f(z): return helpers.{name}(z)").f) for name in "gh"]
    assert len(set(tokens)) == 4


def test_a_file_that_was_edited_meanwhile_does_not_describe_the_function_that_runs(module_of):
    module = module_of(F)
    path, before = Path(module.__file__), tokenize(module.f)
    path.write_text("import os\n" + F)
    assert tokenize(module.f) == before
    path.write_text(F.replace("+ 1", "+ 2222"))
    assert tokenize(module.f) != tokenize(module_of(F.replace("+ 1", "+ 2222")).f)


# The values that tokens had when they were made: the same under every Python and numpy. Kept results hang on them.
GOLDEN = {
    "function": "286de558d7fd4f75a77679e0ec0c6339",
    "lambda": "cdcbdf21180a506a095d57b3b9a5ec90",
    "class": "fa5c378520980b422aa894adcb840cf8",
    "fields": "667ef193aca561e010d0b7edcb67b08c",
    "values": "567ace324f9bb3ae5ad2f0cc184d3676",
    "arrays": "9d3d887401212d3a08104cd80871f3ea",
    "reducer": "5e5f9d97368afc93c95257fab584bbd0",
    "product": "c999ebc58d7054f001c0cf0caf1c4a21",
}
TEXT = """
import enum, functools, math
from dataclasses import dataclass
import numpy as np
import scipy.ndimage

SCALE = 2.5
TABLE = np.arange(6, dtype="f4").reshape(2, 3)

class Kind(enum.IntEnum):
    A = 1

@dataclass(frozen=True)
class Point:
    y: int = 2
    x: float = 1.5

class Model:
    bias = 3
    def __init__(self):
        self.weights = np.ones(2)
    def __call__(self, z):
        return scipy.ndimage.uniform_filter(z[0] * self.weights[0] + self.bias)

def helper(x, *, names=frozenset({"b", "a"})):
    return x * SCALE + TABLE.sum() + math.pi

def f(z, i, kind=Kind.A):
    '''Documented.'''
    try:
        with np.errstate(all="ignore"):
            return [helper(np.angle(z[i])) for _ in range(3)][kind]
    except ValueError as error:
        raise RuntimeError(f"{error!r} of {i:>{2}}") from error

g = lambda boxes, axis: np.percentile(boxes, 90, axis=axis).astype(boxes.dtype)
"""


def test_tokens_are_what_they_were(module_of):
    module = module_of(TEXT)
    values = {
        "function": module.f,
        "lambda": module.g,
        "class": module.Model(),
        "fields": [module.Point(), functools.partial(module.f, i=2)],
        "values": (None, ..., True, 1, 1.5, 2j, "ä\u2028", b"b", [], {}, {1, "a"}, range(3), slice(1, None), re.compile("a")),
        "arrays": (np.arange(3), np.float32(1), np.array("2020-01-01", "M8[D]"), np.dtype("M8[ns]"), np.add, np.mean, len),
        "reducer": reducer(module.g),
        "product": lazypyr.product(module.f, kdims=["i"], dtype="f4"),
    }  # fmt: skip
    tokens = {name: tokenize(value) for name, value in values.items()}
    assert tokens == GOLDEN


def test_no_module_or_class_of_lazypyr_enters():
    def made():
        pyramid = lazypyr.open_pyramid(np.zeros((64, 64, 3), "c8"), axes="yxi", method="mean")
        return [
            p.fingerprint
            for p in (
                pyramid, pyramid.map("intf_0"), pyramid.map("phase").map(lazypyr.product.colormap(vmin=0, vmax=1)),
                lazypyr.open_pyramid(pyramid, source_product=lambda z: np.abs(z[0]), method=np.nanmean),
            )
        ]  # fmt: skip

    before = made()
    classes = type(lazypyr.product.phase()), type(lazypyr.product.colormap()), type(reducer(np.mean)), Product
    names = [(cls, cls.__module__, cls.__name__) for cls in classes]
    try:
        for cls in classes:
            cls.__module__, cls.__name__, cls.__qualname__ = "lazypyr.elsewhere", "Other", "Other"
        assert made() == before
    finally:
        for cls, module, name in names:
            cls.__module__, cls.__name__, cls.__qualname__ = module, name, name


def test_a_users_product_counts_by_its_text(module_of):
    text = """
    from dataclasses import dataclass
    from lazypyr.product import Output, Product

    @dataclass(frozen=True)
    class Twice(Product):
        factor: int = 2
        name = "twice"
        description = "twice"
        def output_spec(self, source):
            return Output(source.axes, source.dtype)
        def compute(self, inputs, out, where, read, context):
            return read(0, where) * self.factor
    """
    tokens = [
        tokenize(module_of(text).Twice(2)), tokenize(module_of(text).Twice(2)), tokenize(module_of(text).Twice(3)),
        tokenize(module_of(text.replace("* self", "+ self")).Twice(2)),
    ]  # fmt: skip
    assert tokens[0] == tokens[1]
    assert len(set(tokens)) == 3


WITHOUT_TEXT = "A = {}\ndef helper(z): return z * A\ndef f(z): return helper(z)\n"


def executed(a):
    names = {"__name__": "made"}
    exec(WITHOUT_TEXT.format(a), names)  # noqa: S102 - a function without source text
    return names["f"]


def test_a_function_without_text_is_itself_only_unless_it_has_a_version():
    one, again, two = executed(1), executed(1), executed(2)
    assert tokenize(one) == tokenize(one)
    assert len({tokenize(f) for f in (one, again, two)}) == 3
    first, same, other, later = (
        tokenize(Versioned(f, version)) for f, version in ((one, "1"), (again, "1"), (two, "1"), (one, "2"))
    )
    assert first == same
    assert len({first, other, later}) == 3, "values count beside the version"
    for make in (
        lambda f: reducer(f, version="1"),
        lambda f: lazypyr.product(f, version="1"),
        lambda f: lazypyr.from_function(f, shape=(8, 8), dtype="f4", version="1"),
    ):
        assert tokenize(make(one)) == tokenize(make(again)) != tokenize(make(two))


def test_a_version_stands_for_the_text(module_of):
    one, two = module_of(F), module_of(F.replace("+ 1", "+ 2"))
    assert tokenize(Versioned(one.f, "1")) == tokenize(Versioned(two.f, "1")) != tokenize(Versioned(one.f, "2"))
    assert tokenize(Versioned(one.f)) == tokenize(one.f)


def test_fingerprints_of_functions_without_text_stay_the_same_in_a_process():
    pyramid = lazypyr.from_function(executed(1), shape=(8, 8), dtype="f4")
    assert pyramid.fingerprint == pyramid.fingerprint
    mapped = lazypyr.open_pyramid(np.zeros((8, 8))).map(executed(1), dtype="f8", kdims=0)
    assert mapped.fingerprint == mapped.fingerprint


@pytest.mark.parametrize(
    "make",
    [
        lambda f: lazypyr.open_pyramid(np.zeros((8, 8)), method=reducer(f)),
        lambda f: lazypyr.open_pyramid(np.zeros((8, 8))).map(f, dtype="f8", kdims=0),
        lambda f: lazypyr.from_function(f, shape=(8, 8), dtype="f4"),
    ],
    ids=["reducer", "product", "function"],
)
def test_a_function_that_is_pickled_by_value_takes_its_token_along(make):
    n = 3
    pyramid = make(lambda *args, **options: args[0] * n)
    again = pickle.loads(cloudpickle.dumps(pyramid))
    assert again.fingerprint == pyramid.fingerprint
    assert pickle.loads(cloudpickle.dumps(again)).fingerprint == pyramid.fingerprint


def test_what_cannot_be_described_is_never_taken_for_something_else():
    locks = [threading.Lock() for _ in range(2)]
    assert tokenize(locks[0]) != tokenize(locks[1])
    assert tokenize(Versioned(functools.partial(len, locks[0]), "1")) == tokenize(
        Versioned(functools.partial(len, locks[1]), "1")
    )


def test_functions_of_numba_count_by_their_text_and_options(module_of):
    one, two = module_of(F), module_of(F.replace("+ 1", "+ 2"))
    tokens = [tokenize(numba.njit(m.f)) for m in (one, one, two)]
    assert tokens[0] == tokens[1] != tokens[2]
    assert tokens[0] not in (tokenize(one.f), tokenize(numba.njit(one.f, fastmath=True)))


class Colour(enum.Enum):
    RED = 1


@dataclasses.dataclass
class Fields:
    a: object


SIMPLE = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False)
    | st.text()
    | st.binary()
    | st.just(Colour.RED)
)
VALUES = st.recursive(
    SIMPLE,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.tuples(inner, inner)
        | st.dictionaries(st.text(max_size=2), inner, max_size=3)
        | st.builds(Fields, inner)
        | st.frozensets(st.integers() | st.text(max_size=2), max_size=3)
    ),
    max_leaves=6,
)


@given(VALUES, VALUES)
def test_equal_values_have_one_token_and_others_have_others(one, two):
    assert tokenize(one) == tokenize(pickle.loads(pickle.dumps(one)))
    if repr(one) != repr(two) and one != two:
        assert tokenize(one) != tokenize(two)


def test_a_value_that_holds_itself():
    one, two = [1], [1]
    one.append(one)
    two.append(two)
    assert tokenize(one) == tokenize(two) != tokenize([1, [1]])


def test_a_script_and_a_module_give_one_token(tmp_path):
    (tmp_path / "theirs.py").write_text(
        TEXT + "\nfrom lazypyr._util.tokenize import tokenize\nprint(tokenize(f), tokenize(g))\n"
    )
    root = str(Path(lazypyr.__file__).parents[1])
    tokens = {
        subprocess.run(
            [sys.executable, *command], env={"PATH": "", "PYTHONPATH": root, "PYTHONHASHSEED": seed}, cwd=tmp_path,
            capture_output=True, text=True, check=True, timeout=100,
        ).stdout
        for seed, command in (("1", ["theirs.py"]), ("2", ["-c", "import sys; sys.path.insert(0, ''); import theirs"]))
    }  # fmt: skip
    assert tokens == {f"{GOLDEN['function']} {GOLDEN['lambda']}\n"}
