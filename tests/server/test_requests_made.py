"""No request to any host but the source's own: none by Python, none by the pages."""

from __future__ import annotations

import functools
import http.server
import json
import subprocess
import sys
import threading
from urllib.parse import urlsplit

import numpy as np
import pytest
import zarr

from support.http import served

HEAD = """
import json, sys
hosts = set()

def record(event, arguments):
    if event == "socket.connect":
        hosts.add(repr(arguments[1]))
    elif event in ("socket.getaddrinfo", "socket.gethostbyname"):
        hosts.add(repr(arguments[:2]))

sys.addaudithook(record)
source, folder = sys.argv[1:]

# Python sees no connection that obstore makes: what is asked for is the same by fsspec.
import importlib.util
of_package = importlib.util.find_spec
importlib.util.find_spec = lambda name, *package: None if name == "obstore" else of_package(name, *package)
"""
STEPS = {
    "import": "import lazypyr, lazypyr.plot, lazypyr.server",
    "open and read": "import lazypyr\npyramid = lazypyr.open_pyramid(source, method='mean')\npyramid.read(1)",
    "materialize": "import lazypyr\nlazypyr.materialize(lazypyr.open_pyramid(source), folder + '/out.zarr', progress=False)",
    "info": "from lazypyr.cli import main\nassert main(['info', source]) == 0",
    "view --save": "from lazypyr.cli import main\nfor end in ('png', 'html'):\n    assert main(['view', source, '--save', f'{folder}/out.{end}']) == 0",
    "serve": """
import lazypyr
from http.client import HTTPConnection
with lazypyr.serve({"a": source}, port=0, background=True) as server:
    own = server.url.removeprefix("http://")
    for path in ("/", "/view/a", "/api/a/info", "/a/zarr.json", "/a/1/c/0/0", "/thumbnail/a.png", "/stats", "/metrics", "/ready"):
        connection = HTTPConnection(own)
        connection.request("GET", path)
        assert connection.getresponse().status == 200, path
hosts = {host for host in hosts if own.rpartition(":")[2] not in host and "'127.0.0.1', 0" not in host}
""",
}


class _Handler(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *args):
        pass


@pytest.fixture
def web(tmp_path):
    zarr.save_array(tmp_path / "web" / "a.zarr", np.arange(600 * 400, dtype="f4").reshape(600, 400))
    with http.server.ThreadingHTTPServer(
        ("127.0.0.1", 0), functools.partial(_Handler, directory=tmp_path / "web")
    ) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"127.0.0.1:{server.server_address[1]}"
        server.shutdown()
        thread.join()


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("kind", ["file", "url"])
def test_python_asks_no_other_host(kind, step, tmp_path, web):
    source = f"http://{web}/a.zarr" if kind == "url" else str(tmp_path / "web" / "a.zarr")
    code = f"{HEAD}{STEPS[step]}\nprint()\nprint(json.dumps(sorted(hosts)))"
    done = subprocess.run(
        [sys.executable, "-c", code, source, str(tmp_path)], capture_output=True, text=True, timeout=100, check=False
    )
    assert done.returncode == 0, done.stderr
    asked = json.loads(done.stdout.splitlines()[-1])
    host, port = web.split(":")
    own = [text for text in asked if f"'{host}', {port}" in text]
    assert asked == own
    assert bool(own) == (kind == "url" and step != "import")


def test_pages_and_saved_plots_ask_no_other_host(chromium, tmp_path):
    from playwright.sync_api import sync_playwright
    from server.test_viewer import FLAGS

    import lazypyr.plot

    image = np.arange(600 * 400, dtype="f4").reshape(600, 400)
    saved = lazypyr.plot.save_picture(image, tmp_path / "saved.html")
    asked = []
    with served({"a": image}) as handle, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=FLAGS)
        page = browser.new_page()
        page.on("request", lambda request: asked.append(request.url))
        for url in (handle.url, f"{handle.url}/view/a", saved.as_uri()):
            page.goto(url)
            page.wait_for_load_state("networkidle")
        browser.close()
        assert len(asked) > 6
        others = {
            url
            for url in asked
            if urlsplit(url).scheme in ("http", "https", "ws", "wss") and not url.startswith(handle.url)
        }
    assert not others
