"""Packages of npm, installed once into a folder beside the system's temporary files."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import tempfile
from pathlib import Path

from support.tools import unavailable


def npm_folder(name, *packages):
    """A folder whose node_modules has `packages`."""
    return _made(name, "install", "--no-audit", "--no-fund", "--legacy-peer-deps", *packages)


def zarrita_client():
    """The command that runs zarrita_client.mjs."""
    script = npm_folder("zarrita", "zarrita@0.7.5") / "client.mjs"
    script.write_text(Path(__file__).with_name("zarrita_client.mjs").read_text())
    return ["node", str(script)]


def npm_files(name, package):
    """A folder with the files of a package by itself, without what it depends on."""
    folder = _made(name, "pack", "--silent", package)
    if not (folder / "package").exists():
        (archive,) = folder.glob("*.tgz")
        shutil.unpack_archive(archive, folder, filter="data")
    return folder / "package"


def _made(name, *args):
    npm = shutil.which("npm")
    if not (npm and shutil.which("node")):
        unavailable("no node and npm on this machine: apt-get install nodejs npm")
    mark = hashlib.sha256(" ".join(args).encode()).hexdigest()[:8]
    folder = Path(tempfile.gettempdir()) / f"lazypyr-npm-{name}-{mark}"
    done = folder / "installed"
    if not done.exists():
        folder.mkdir(exist_ok=True)
        (folder / "package.json").write_text('{"private": true, "type": "module"}')
        for last in (False, False, True):  # a registry fails now and then
            try:
                subprocess.run([npm, *args], cwd=folder, capture_output=True, text=True, timeout=100, check=True)
                break
            except subprocess.SubprocessError as error:
                if last:
                    unavailable(f"npm could not {args[0]} {name}: {error} {(error.stderr or '')[-300:]}")
        done.touch()
    return folder
