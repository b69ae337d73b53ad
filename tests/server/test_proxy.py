"""Behind proxies: links and URLs to copy are those of the browser, and only proxies that are trusted are believed."""

import re
from html import unescape

import numpy as np
import pytest

import lazypyr
from support.http import ask, served

RAMP = np.arange(512 * 512, dtype="f4").reshape(512, 512)
TOLD = {
    "X-Forwarded-Proto": "https",
    "X-Forwarded-Host": "data.example.org",
    "X-Forwarded-Prefix": "/data",
}
HOSTS = ["data.example.org", "box.internal"]


def page(server, path="/", headers=(), host="box.internal"):
    answer = ask(server.url, path, headers=headers, host=host)
    assert answer.status == 200
    return unescape(answer.body.decode())


def links(text):
    return set(re.findall(r'(?:href|src)="(/[^"]*)"', text))


@pytest.mark.fault("N20")
def test_what_a_trusted_proxy_tells_is_in_links_and_urls():
    with served({"a": RAMP}, allow_host=HOSTS, trust_proxy=["127.0.0.0/8"]) as server:
        text = page(server, headers=TOLD)
        assert 'zarr.open_group("https://data.example.org/data/a/"' in text
        assert len(links(text)) > 4 and all(link.startswith("/data/") for link in links(text))
        for link in links(text):  # the proxy may take the prefix away, or leave it
            assert ask(server.url, link.removeprefix("/data"), headers=TOLD).status == 200
            assert ask(server.url, link, headers=TOLD).status == 200
        refused = ask(server.url, "/", headers={**TOLD, "X-Forwarded-Host": "evil.example.com"})
        assert refused.status == 400
        for bad in ('/x"><script>', "//evil.example.com/", "/a/../b c"):
            assert "//evil" not in page(server, headers={**TOLD, "X-Forwarded-Prefix": bad})
            assert "<script>/" not in page(server, headers={**TOLD, "X-Forwarded-Prefix": bad})


@pytest.mark.fault("N20")
@pytest.mark.parametrize("trusted", [[], ["10.0.0.0/8"], ["::1"]])
def test_others_are_not_believed(trusted):
    with served({"a": RAMP}, allow_host=HOSTS, trust_proxy=trusted) as server:
        text = page(server, headers=TOLD)
        assert 'zarr.open_group("http://box.internal/a/"' in text
        assert not any(link.startswith("/data/") for link in links(text)) and "https://data" not in text


@pytest.mark.fault("N20")
def test_a_root_path_is_in_links_whatever_the_proxy_does():
    with served({"a": RAMP}, root_path="/deep/data/") as server:
        for path in ("/", "/deep/data/"):
            assert all(link.startswith("/deep/data/") for link in links(page(server, path, host="localhost")))
        assert ask(server.url, "/deep/data/a/zarr.json").status == ask(server.url, "/a/zarr.json").status == 200


@pytest.mark.parametrize("option", [{"root_path": "data"}, {"root_path": '/"x'}, {"trust_proxy": ["proxy.example"]}])
def test_bad_options_are_refused(option):
    with pytest.raises(lazypyr.PlanError, match=next(iter(option))):
        lazypyr.serve(RAMP, port=0, background=True, **option)
