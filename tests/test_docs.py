"""Every block of code of README and docs runs to its end as it stands, on small data; commands are those that there are."""

from __future__ import annotations

import json
import re
import shlex
from urllib.request import urlopen

import httpx
import numpy as np
import pytest
import zarr
from docs_setup import SETUP, looks, on_earth, scene, stack

from lazypyr.cli import _parser, main
from support.paths import ROOT

# These have tests of their own.
ELSEWHERE = {"docs/plotting.md", "docs/products.md"}
PAGES = sorted(str(page.relative_to(ROOT)) for page in [ROOT / "README.md", *(ROOT / "docs").glob("*.md")])


def blocks(page, *languages):
    text = (ROOT / page).read_text(encoding="utf-8")
    return [
        code for language, code in re.findall(r"```(\w*)\n(.*?)```", text, flags=re.DOTALL) if language in languages
    ]


def commands():
    """Calls of lazypyr in the shells of all pages."""
    for page in PAGES:
        for block in blocks(page, "bash", "console", "sh"):
            prompts = [line.removeprefix("$ ") for line in block.splitlines() if "$ " not in block or line[:2] == "$ "]
            for call in re.findall(r"(?:^|&& )lazypyr ([^&\n]*)", "\n".join(prompts), flags=re.MULTILINE):
                yield page, shlex.split(call, comments=True)


def test_no_page_is_left_out():
    assert {page for page in PAGES if blocks(page, "python")} == set(SETUP) | ELSEWHERE
    languages = {
        language
        for page in PAGES
        for language in re.findall(r"```(\w*)\n.*?```", (ROOT / page).read_text(encoding="utf-8"), re.DOTALL)
    }
    assert languages <= {"python", "bash", "console", "json", "bibtex", ""}


@pytest.fixture
def names(page, tmp_path, monkeypatch):
    """What the page's names are after all of its Python has run."""
    monkeypatch.chdir(tmp_path)
    names = SETUP[page](tmp_path)
    try:
        exec(compile("\n".join(blocks(page, "python")), page, "exec"), names)
        yield names
    finally:
        if "server" in names:
            names["server"].close()
        if "lazypyr" in getattr(names.get("viewer"), "__dict__", {}):
            names["viewer"].lazypyr.close()


@pytest.mark.timeout(180)
@pytest.mark.parametrize("page", sorted(set(SETUP) - {"README.md", "docs/quickstart.md"}))
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_python_of_the_page_runs(page, names):
    assert not any(isinstance(value, BaseException) for value in names.values())


@pytest.mark.timeout(180)
@pytest.mark.parametrize("page", ["README.md", "docs/quickstart.md"])
def test_what_the_first_pages_compute(page, names, tmp_path):
    with urlopen(f"{names['server'].url}/stats") as stats:
        assert set(json.load(stats)["sources"]) == {"slc", "pairs"}
    data = scene()
    kept = zarr.open(tmp_path / "pairs.zarr", mode="r")
    assert [kept[str(k)].shape for k in range(4)] == [(-(-1100 // 2**k),) * 2 + (3, 3) for k in range(4)]
    for k in (2, 3):
        level = data[:: 2**k, :: 2**k]
        expected = np.angle(level[..., :, None] * level[..., None, :].conj())
        np.testing.assert_allclose(np.exp(1j * kept[str(k)][:]), np.exp(1j * expected), atol=1e-5)


@pytest.mark.parametrize("page", ["docs/extending.md"])
async def test_what_is_added_computes(page, names):
    heights, greenness, steep = names["heights"], names["greenness"], names["steep"]
    box = heights.read(0)[:2, :2]
    np.testing.assert_allclose(heights.read(1)[0, 0], np.percentile(box, 90))
    z = zarr.open_array("bands.zarr", mode="r")[:].astype("f8")
    np.testing.assert_allclose(greenness.read(0), (z[..., 3] - z[..., 2]) / (z[..., 3] + z[..., 2]), rtol=1e-5)
    np.testing.assert_allclose(steep.read(0), 45)
    transport = httpx.ASGITransport(app=names["site"])
    async with httpx.AsyncClient(transport=transport, base_url="http://maps.example.org") as client:
        assert (await client.get("/highest")).json() == {"highest": float(heights.read(-1).max())}
        assert (await client.get("/pyramids/steep/zarr.json")).json()["node_type"] == "group"


def test_commands_of_all_pages_are_understood():
    for page, words in commands():
        assert callable(_parser().parse_args(words).run), page


@pytest.mark.timeout(300)
def test_commands_that_end_by_themselves_run(tmp_path, monkeypatch, capsys):
    """Those on files of this machine; ``serve`` and ``view`` of a page end with Ctrl-C only (tests/cli)."""
    monkeypatch.chdir(tmp_path)
    stack(tmp_path)
    on_earth(tmp_path)
    run = []
    for _, words in commands():
        if (
            words[0] in ("serve", "--help")
            or (words[0] == "view" and "--save" not in words)
            or "://" in " ".join(words)
        ):
            continue
        assert main(words) == 0, words
        run.append(words[0])
    assert {"info", "materialize", "view", "demo"} <= set(run)
    np.testing.assert_array_equal(zarr.open_array(tmp_path / "means.zarr" / "0", mode="r")[:], looks(4))
    assert (tmp_path / "pair.png").read_bytes()[:4] == b"\x89PNG"


# What readers of the first hour did not understand.
UNCLEAR = """worth computing; without the store; costs no byte; first coarsest tile; did not reach; disk tier; rooms of the house;
its flights; Zarr face; win over computing; left alone; counts anew; leave aside; test-and-set; its own affair; NaT hold; wins its
pixel; Dealt out; What is where; take amiss; at any price; nobody has begun; began when it was; fact stand once; change places; a blink;
What travels; first knob; most so often; Bad input; boxed; world units; pixel of ones; "as it is\""""


def test_unclear_words_are_gone(capsys):
    texts = {page: (ROOT / page).read_text(encoding="utf-8") for page in PAGES if page != "docs/design.md"}
    for command in ("info", "view", "serve", "materialize", "explain", "demo"):
        with pytest.raises(SystemExit):
            main([command, "--help"])
        texts[command] = capsys.readouterr().out
    phrases = [" ".join(phrase.split()) for phrase in UNCLEAR.split(";")]
    spoken = {name: " ".join(text.split()) for name, text in texts.items()}
    assert [(name, phrase) for name, text in spoken.items() for phrase in phrases if phrase in text] == []
