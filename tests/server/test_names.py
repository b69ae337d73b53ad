"""Names of groups, levels and sources over HTTP: every reader gets the values that are there in the process, or an error."""

from __future__ import annotations

import hashlib
import json
import subprocess
from urllib.parse import quote

import numpy as np
import pytest
import tensorstore as ts
import zarr

import lazypyr
from lazypyr.errors import PlanError
from lazypyr.server.run import name_of
from support.http import ask, served
from support.npm import zarrita_client

pytestmark = pytest.mark.fault("N6")

IMAGE = np.arange(1, 1 + 70 * 90, dtype="u2").reshape(70, 90)
NAMES = [
    "dem 2020", "a  b", " lead", "été", "日本語", "हिन्दी", "اسم", "a+b", "a,b;c", "50%", "100% of it", "%", "a&b=c", "it's \"q\"", "a@b:c", "[x]{y}",
    "~t", "a*b!", "x|y^`z", "<b>", "(1)", "a=b", "a?b", "what? yes+no", "?", "a?b=c&d", "??", "? a b", "a#b", "#", "a?b#c", "$(x)",
]  # fmt: skip
# In a URL that is made by appending them, the ends of these are lost.
LOST = {"a#b", "#", "a?b#c", "what? yes+no"}
NEVER = ["..", ".", "c", "a\\b", "a\nb", "a\0b", "zarr.json", "a%20b", "%2e%2e", "\ud800", "", "a/b", ".x"]


@pytest.fixture(scope="module")
def url():
    sources = {
        "all": lazypyr.collection({name: IMAGE * (k + 1) for k, name in enumerate(NAMES)}, chunks=(32, 32)),
        "plain": lazypyr.collection(
            {name: IMAGE * (k + 1) for k, name in enumerate(NAMES) if name not in LOST}, chunks=(32, 32)
        ),
    }
    for k, name in enumerate(NAMES):
        sources[f"layout{k}"] = lazypyr.LazyPyramidStore(
            IMAGE, chunks=(32, 32), layout=f"{name.replace('{y}', 'y')}/{{level}} {name.replace('{y}', 'y')}"
        )
    with served(sources) as handle:
        yield handle.url


def test_every_document_and_every_chunk_has_a_url(url):
    store = lazypyr.collection(
        {name: IMAGE * (k + 1) for k, name in enumerate(NAMES)}, chunks=(32, 32), compressor=None
    )
    for face in ("", "v2/"):
        faced = store if not face else store.with_layout(zarr_format=2)
        for key in faced:
            answer = ask(url, f"/{face}all/{quote(key)}")
            assert (answer.status, answer.body) == (200, faced[key]), key


@pytest.mark.parametrize("face", ["", "v2/"])
def test_zarr_by_names_from_the_root(url, face):
    root = zarr.open_group(f"{url}/{face}plain/", mode="r")
    for k, name in enumerate(NAMES):
        if name not in LOST:
            np.testing.assert_array_equal(root[name]["0"][...], IMAGE * (k + 1), err_msg=name)
            np.testing.assert_array_equal(root[f"{name}/1"][...], (IMAGE * (k + 1))[::2, ::2], err_msg=name)


@pytest.mark.parametrize("face", ["", "v2/"])
def test_zarr_reads_the_values_or_fails(url, face):
    root = zarr.open_group(f"{url}/{face}all/", mode="r")
    for k, name in enumerate(NAMES):
        if name in LOST:
            with pytest.raises((KeyError, FileNotFoundError)):
                root[name]["0"]
        else:
            np.testing.assert_array_equal(root[name]["0"][...], IMAGE * (k + 1), err_msg=name)
        own = zarr.open_group(f"{url}/{face}all/{quote(name)}", mode="r")
        np.testing.assert_array_equal(own["0"][...], IMAGE * (k + 1), err_msg=name)


def test_levels_have_such_names_too(url):
    for k, name in enumerate(NAMES):
        name = name.replace("{y}", "y")  # noqa: PLW2901
        root = zarr.open_group(f"{url}/layout{k}/", mode="r")
        if name not in LOST:
            np.testing.assert_array_equal(root[f"{name}/1 {name}"][...], IMAGE[::2, ::2], err_msg=name)
        else:
            with pytest.raises((KeyError, FileNotFoundError)):
                root[f"{name}/1 {name}"]


def test_tensorstore(url):
    for k, name in enumerate(NAMES):
        for face, driver in (("", "zarr3"), ("v2/", "zarr")):
            opened = ts.open(
                {"driver": driver, "kvstore": f"{url}/{face}all/{quote(name)}/0/"}, read=True, open=True
            ).result()
            np.testing.assert_array_equal(opened.read().result(), IMAGE * (k + 1), err_msg=name)
            base = {"driver": "http", "base_url": url, "path": f"/{face}all/{name}/0/"}
            opened = ts.open({"driver": driver, "kvstore": base}, read=True, open=True).result()
            np.testing.assert_array_equal(opened.read().result(), IMAGE * (k + 1), err_msg=name)


def test_zarrita(url):
    cases = {f"{url}/all/{quote(name)}/0": IMAGE * (k + 1) for k, name in enumerate(NAMES)}
    # zarrita resolves paths as URLs, several times: of the others it says itself that it can't.
    plain = {name: k for k, name in enumerate(NAMES) if not set(name) & set("%?#") and name == name.strip()}
    cases |= {f"{url}/v2/all/|{quote(name)}/0": IMAGE * (k + 1) for name, k in plain.items()}
    done = subprocess.run([*zarrita_client(), *cases], capture_output=True, text=True, timeout=100, check=False)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    for case, image in cases.items():
        assert found[case]["sha256"] == hashlib.sha256(image.tobytes()).hexdigest(), case


@pytest.mark.parametrize("name", NEVER)
def test_names_that_are_none(name):
    with pytest.raises(PlanError, match="can't be"):
        lazypyr.collection({name: IMAGE})
    if name and "/" not in name and not name.startswith(".x"):
        with pytest.raises(PlanError, match="layout"):
            lazypyr.LazyPyramidStore(IMAGE, layout=f"{{level}}/{name}")


@pytest.mark.parametrize("name", ["été", "日本語", "a+b"])
def test_sources_have_names_of_any_script(name):
    with served({name: IMAGE}) as handle:
        np.testing.assert_array_equal(zarr.open_group(f"{handle.url}/{quote(name)}/", mode="r")["0"][...], IMAGE)
        for page in ("view/{}", "thumbnail/{}.png", "api/{}/info", "tiles/{}/0/0/0.png"):
            assert ask(handle.url, "/" + page.format(quote(name))).status == 200
        body = ask(handle.url, "/").body.decode()
        assert f'href="/view/{quote(name)}"' in body
        assert f"/{quote(name)}/" in body


@pytest.mark.parametrize(
    ("text", "name"),
    [("https://u:p@h/a%20b.zarr?sig=SECRET", "a-20b"), ("https://h/a.zarr?sig=S/x#T", "a"), ("été.ome.zarr", "été"), ("x/dem 2020.zarr/", "dem-2020")],
)  # fmt: skip
def test_names_of_sources_that_have_none(text, name):
    assert name_of(text) == name
