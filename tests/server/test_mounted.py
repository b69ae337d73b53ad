"""The application apart from its server: mounted below a path of somebody else's site."""

import json
import re
from html import unescape

import httpx
import numpy as np
import pytest
from fastapi import FastAPI
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.base import BaseHTTPMiddleware
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Mount, Route

import lazypyr
from lazypyr.server import create_app

RAMP = np.arange(512 * 512, dtype="f4").reshape(512, 512)


@pytest.fixture(scope="module")
def app(tmp_path_factory):
    viewer = tmp_path_factory.mktemp("vizarr")
    (viewer / "index.html").write_text("<p>vizarr")
    return create_app({"ramp": RAMP, "a+b": RAMP}, allow_host=["maps.example.org"], viewer_dir=viewer)


def client(app, root_path=""):
    transport = httpx.ASGITransport(app=app, root_path=root_path)
    return httpx.AsyncClient(transport=transport, base_url="http://maps.example.org")


async def hello(request: Request):
    return PlainTextResponse("hello")


async def through(request, call_next):
    return await call_next(request)


def starlette_site(app, path):
    middleware = [Middleware(BaseHTTPMiddleware, dispatch=through)]
    return Starlette(routes=[Route("/hello", hello), Mount(path, app=app)], middleware=middleware)


def fastapi_site(app, path):
    host = FastAPI()
    host.add_api_route("/hello", hello, response_class=PlainTextResponse)
    host.mount(path, app)
    return host


PATHS = [
    "/ramp/zarr.json", "/ramp/1/c/0/0", "/v2/ramp/.zattrs", "/tiles/ramp/0/0/0.png?low=0&high=9", "/api/ramp/info", "/nobody/zarr.json",
    "/ramp/9/c/0/0", "/static/view.js", "/viewers/vizarr/", "/a+b/zarr.json", "/ready", "/view/nobody", "/static/../app.py",
]  # fmt: skip


@pytest.mark.parametrize("site", [starlette_site, fastapi_site])
@pytest.mark.parametrize("prefix", ["/pyramids", "/deep/below", "/with space"])
async def test_answers_are_the_same_below_a_path(app, prefix, site):
    async with client(app) as plain, client(site(app, prefix)) as mounted:
        assert (await mounted.get("/hello")).text == "hello"
        for path in PATHS:
            expected, got = await plain.get(path), await mounted.get(prefix + path)
            assert (got.status_code, got.content) == (expected.status_code, expected.content), path
            assert got.headers.get("etag", "")[:9] == expected.headers.get("etag", "")[:9]
        ranged = await mounted.get(f"{prefix}/ramp/0/c/0/0", headers={"Range": "bytes=2-5"})
        whole = await plain.get("/ramp/0/c/0/0")
        assert (ranged.status_code, ranged.content) == (206, whole.content[2:6])


@pytest.mark.parametrize("site", [starlette_site, fastapi_site])
@pytest.mark.parametrize("prefix", ["", "/pyramids", "/with space"])
async def test_each_link_of_a_page_leads_somewhere(app, prefix, site):
    async with client(site(app, prefix) if prefix else app) as browser:
        home = f"{prefix}/"
        pages = [home, f"{prefix}/view/ramp"]
        for page in pages:
            text = (await browser.get(page)).text
            links = {unescape(link) for link in re.findall(r'(?:href|src)="([^"]+)"', text)}
            own = {link for link in links if not link.startswith(("data:", "https://"))}
            assert len(own) >= 5
            for link in own:
                assert (await browser.get(link)).status_code == 200, (page, link)
        quoted = prefix.replace(" ", "%20")
        home_text = unescape((await browser.get(home)).text)
        assert f'zarr.open_group("http://maps.example.org{quoted}/ramp/"' in home_text
        facts = re.search(
            r'<script id="info" type="application/json">(.*?)</script>', (await browser.get(pages[1])).text
        )
        assert json.loads(facts[1])["root"] == quoted


async def test_a_server_that_tells_its_root_path_itself(app):
    async with client(app, root_path="/proxied") as stripped:  # the proxy took the prefix away
        assert (await stripped.get("/ramp/zarr.json")).status_code == 200
        assert 'href="/proxied/view/ramp"' in (await stripped.get("/")).text


async def test_hosts_and_origins_are_checked(app):
    async with client(app) as browser:
        assert (await browser.get("/", headers={"Host": "evil.example.com"})).status_code == 400
        answer = await browser.get("/ramp/zarr.json", headers={"Origin": "https://other.example"})
        assert answer.headers["access-control-allow-origin"] == "*"
    anywhere = create_app(RAMP, allow_host=["*"], cors=None)
    async with client(anywhere) as browser:
        answer = await browser.get("/", headers={"Host": "any.example.com", "Origin": "https://other.example"})
        assert answer.status_code == 200
        assert "access-control-allow-origin" not in answer.headers


@pytest.mark.parametrize(
    "options", [{"allow_host": ["http://x"]}, {"cors": "x"}, {"revalidate": -1}, {"viewer_dir": "/nowhere"}]
)
def test_bad_options_are_refused_when_it_is_built(options):
    with pytest.raises(lazypyr.PlanError, match=next(iter(options))):
        create_app(RAMP, **options)
    with pytest.raises(lazypyr.PlanError, match="no source was given"):
        create_app({})
