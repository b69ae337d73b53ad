"""Packages of npm, installed once into a folder beside the system's temporary files."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import tempfile
from pathlib import Path

from conftest import unavailable


def npm_folder(name, *packages):
    """A folder whose node_modules has `packages`."""
    npm = shutil.which("npm")
    if not (npm and shutil.which("node")):
        unavailable("no node and npm on this machine: apt-get install nodejs npm")
    mark = hashlib.sha256(" ".join(packages).encode()).hexdigest()[:8]
    folder = Path(tempfile.gettempdir()) / f"lazypyr-npm-{name}-{mark}"
    done = folder / "installed"
    if not done.exists():
        folder.mkdir(exist_ok=True)
        (folder / "package.json").write_text('{"private": true, "type": "module"}')
        made = subprocess.run(
            [npm, "install", "--no-audit", "--no-fund", "--legacy-peer-deps", *packages],
            cwd=folder, capture_output=True, text=True, timeout=100, check=False,
        )  # fmt: skip
        if made.returncode != 0:
            unavailable(f"npm could not install {name}: {made.stderr.strip()[-300:]}")
        done.touch()
    return folder
