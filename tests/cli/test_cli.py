"""The ``lazypyr`` command: what it says, what it returns, and that it fails in one line."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import zarr

import lazypyr
from lazypyr._util.text import size_text, table
from lazypyr.cli import main
from lazypyr.engine.engine import DEFAULT_CACHE_BYTES, DEFAULT_INFLIGHT_BYTES, DEFAULT_TIMEOUT_S

DOCS = Path(__file__).resolve().parents[2] / "docs"


def command(*args, **options):
    return subprocess.run(
        [sys.executable, "-m", "lazypyr.cli", *map(str, args)], capture_output=True, text=True, timeout=100, **options
    )


def test_version_and_help(capsys):
    for option, expected in [("--version", f"lazypyr {lazypyr.__version__}"), ("--help", "info")]:
        with pytest.raises(SystemExit) as end:
            main([option])
        assert end.value.code == 0
        assert expected in capsys.readouterr().out


@pytest.mark.parametrize(
    ("command", "option", "default"),
    [
        ("serve", "--timeout", DEFAULT_TIMEOUT_S),
        ("serve", "--cache-mb", DEFAULT_CACHE_BYTES / 2**20),
        ("materialize", "--memory", DEFAULT_INFLIGHT_BYTES / 2**20),
        ("serve", "--revalidate", 60),
    ],
)
def test_help_and_docs_say_the_defaults_that_hold(capsys, command, option, default):
    with pytest.raises(SystemExit):
        main([command, "--help"])
    said = re.search(
        rf"{option} [A-Z]+.*?\(default: (\d+)\)", capsys.readouterr().out.partition("options:")[2], re.DOTALL
    )
    assert float(said[1]) == default
    pages = " ".join(page.read_text(encoding="utf-8") for page in DOCS.glob("*.md"))
    told = re.findall(rf"`{option}`,?\s+\(?(\d+)\b", pages)
    assert {float(number) for number in told} <= {default}


def test_engines_take_the_defaults_that_are_said():
    engine = lazypyr.LazyPyramidStore(np.zeros((4, 4))).engine
    said = DEFAULT_TIMEOUT_S, DEFAULT_CACHE_BYTES, DEFAULT_INFLIGHT_BYTES
    assert (engine.timeout_s, engine.cache_bytes, engine.inflight_bytes) == said


@pytest.mark.parametrize(
    ("name", "package", "extra"),
    [("serve", "uvicorn", "serve"), ("view", "holoviews", "plot"), ("demo", "PIL", "plot")],
)
def test_a_command_without_its_extra(name, package, extra, tmp_path):
    zarr.create_array(tmp_path / "a.zarr", shape=(64, 64), dtype="f4")
    code = f"import sys; sys.modules[{package!r}] = None; from lazypyr.cli import main; sys.exit(main(sys.argv[1:]))"
    source = [] if name == "demo" else [tmp_path / "a.zarr"]
    done = subprocess.run([sys.executable, "-c", code, name, *source], capture_output=True, text=True, timeout=100)
    assert done.returncode == 1
    assert done.stderr.strip().endswith(f"lazypyr {name} needs {package}: pip install 'lazypyr[{extra}]'")
    assert "Traceback" not in done.stderr


def test_the_package_itself_is_the_command():
    done = subprocess.run([sys.executable, "-m", "lazypyr", "--version"], capture_output=True, text=True, timeout=100)
    assert (done.returncode, done.stdout, done.stderr) == (0, f"lazypyr {lazypyr.__version__}\n", "")


def test_the_installed_command_is_this_one():
    from importlib.metadata import entry_points

    (entry,) = entry_points(group="console_scripts", name="lazypyr")
    assert entry.load() is main


def test_help_imports_nothing_heavy():
    code = """if True:
        import sys
        from lazypyr.cli import main
        try:
            main(["--help"])
        finally:
            print(*sorted({"zarr", "numba", "scipy", "dask", "bokeh", "holoviews", "starlette"} & set(sys.modules)), file=sys.stderr)
    """
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr.strip()) == (0, "")


@pytest.mark.fault("X2")
@pytest.mark.parametrize(
    "args",
    [
        [],
        ["no-such-command"],
        ["info"],
        ["info", "--levels", "many", "x.zarr"],
        ["info", "--chunks", "1,2,3", "x.zarr"],
        ["info", "--chunks", "-4", "x.zarr"],
        ["info", "--storage-option", "key", "x.zarr"],
        ["info", "--no-such-option", "x.zarr"],
    ],
    ids=" ".join,
)
def test_bad_arguments_are_one_line_and_code_2(args, capsys):
    with pytest.raises(SystemExit) as end:
        main(args)
    said = capsys.readouterr()
    assert end.value.code == 2
    assert said.out == ""
    assert len(said.err.splitlines()) == 1
    assert said.err.startswith("lazypyr")


@pytest.mark.fault("X2")
@pytest.mark.parametrize(
    "args",
    [["{tmp}/none.zarr"], ["--method", "nonsense", "{data}"], ["--axes", "ab", "{data}"], ["--levels", "0", "{data}"]],
)
def test_errors_are_one_line_and_code_1(args, capsys, tmp_path, data_dir):
    source = data_dir / "micro_nuclei_labels" / "nuclei.zarr" / "image"
    assert main(["info", *(arg.format(tmp=tmp_path, data=source) for arg in args)]) == 1
    said = capsys.readouterr()
    assert said.out == ""
    assert len(said.err.splitlines()) == 1
    assert said.err.startswith("lazypyr: ")


def test_info_json_is_arithmetic_on_the_source(capsys, data_dir):
    path = data_dir / "sar_s1_morocco_ifg" / "ifg.zarr" / "complex_coherence"
    source = zarr.open_array(path, mode="r")
    assert main(["info", "--json", "--chunks", "128", "--method", "mean", str(path)]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts["dtype"] == str(source.dtype)
    assert facts["axes"] == ["y", "x"]
    assert facts["chunk_shape"] == [128, 128]
    shapes = [[-(-n // 2**k) for n in source.shape] for k in range(len(facts["levels"]))]
    assert [level["shape"] for level in facts["levels"]] == shapes
    assert max(shapes[-1]) <= 128 < max(shapes[-2])
    assert [level["scale"] for level in facts["levels"]] == [[2.0**k, 2.0**k] for k in range(len(shapes))]
    assert [level["translation"] for level in facts["levels"]] == [[(2**k - 1) / 2] * 2 for k in range(len(shapes))]
    eager = [np.empty(shape, source.dtype) for shape in shapes]
    assert facts["source_bytes"] == source.nbytes
    assert facts["eager_bytes"] == sum(level.nbytes for level in eager[1:])
    chunks = [len(range(0, a, 128)) * len(range(0, b, 128)) for a, b in shapes]
    assert [level["chunks"] for level in facts["levels"]] == chunks
    assert facts["eager_chunks"] == sum(chunks[1:])
    assert facts["fingerprint"] == lazypyr.open_pyramid(path, method="mean", chunks=(128, 128)).fingerprint


def test_info_is_a_table(capsys, demo_data):
    assert (
        main(["info", "--axes", "yxi", "--chunks", "64", str(demo_data / "sar_gotcha_xband" / "slc.zarr" / "slc")]) == 0
    )
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert ["axes", "y", "x", "i"] in lines
    assert ["dtype", "complex64"] in lines
    assert ["0", "512", "x", "512", "x", "4", "256", "8.0", "MiB"] in lines
    assert ["3", "64", "x", "64", "x", "4", "4", "128.0", "KiB"] in lines


@pytest.mark.parametrize(
    "name",
    [
        "micro_ome_zarr_ezzarr/tubhiswt4D_sub.zarr",
        "geo_landsat_peru/landsat.zarr/landsat",
        "micro_fly_kc167/image.zarr",
    ],
)
def test_info_of_real_sets(name, capsys, data_dir):
    assert main(["info", str(data_dir / name)]) == 0
    pyramid = lazypyr.open_pyramid(data_dir / name)
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert ["fingerprint", pyramid.fingerprint] in lines
    assert ["axes", *pyramid.axes] in lines and ["dtype", str(pyramid.dtype)] in lines
    rows = [line[: 2 * pyramid.ndim] for line in lines if line and line[0].isdecimal()]
    assert rows == [[str(k), *" x ".join(map(str, level.shape)).split()] for k, level in enumerate(pyramid.levels)]


def test_info_of_a_product(capsys, demo_data):
    assert (
        main(
            [
                "info",
                "--json",
                "--axes",
                "yxi",
                "--product",
                "intf_all",
                str(demo_data / "sar_gotcha_xband" / "slc.zarr" / "slc"),
            ]
        )
        == 0
    )
    facts = json.loads(capsys.readouterr().out)
    assert facts["levels"][0]["shape"] == [512, 512, 4, 4]
    assert facts["dtype"] == "float32"


def test_sizes_and_tables():
    assert [size_text(n) for n in (0, 1023, 1024, 3 * 2**29, 2**80)] == [
        "0 B",
        "1023 B",
        "1.0 KiB",
        "1.5 GiB",
        "1,048,576.0 EiB",
    ]
    assert table(["a", "bb"], [("long", 1), ("s", 234)]) == "a      bb\nlong    1\ns     234"


@pytest.mark.fault("X2")
def test_missing_extra_is_one_line(tmp_path):
    code = f"import sys; sys.modules['PIL'] = None; from lazypyr.cli import main; sys.exit(main(['demo', '--out', {str(tmp_path)!r}]))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=100)
    assert done.returncode == 1
    assert done.stderr.splitlines() == ["lazypyr: lazypyr demo needs PIL: pip install 'lazypyr[plot]'"]


@pytest.mark.fault("X2")
def test_ctrl_c_is_one_line_and_code_130(tmp_path):
    demo = [sys.executable, "-u", "-m", "lazypyr.cli", "demo", "--out", str(tmp_path)]
    with subprocess.Popen(demo, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as child:
        child.stdout.readline()  # it is at work
        child.send_signal(signal.SIGINT)
        _, err = child.communicate(timeout=60)
    assert child.returncode == 130
    assert err.splitlines() == ["lazypyr: interrupted"]


def test_a_reader_that_leaves_is_no_traceback(demo_data):
    reading, writing = os.pipe()
    os.close(reading)
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "lazypyr.cli",
            "info",
            "--axes",
            "yxi",
            str(demo_data / "sar_gotcha_xband" / "slc.zarr" / "slc"),
        ],
        stdout=writing,
        stderr=subprocess.PIPE,
        timeout=100,
    )
    os.close(writing)
    assert done.returncode == 1
    assert done.stderr == b""


def test_command_from_another_folder(tmp_path, data_dir):
    done = command("info", "--json", data_dir / "geo_rgb_byte" / "rgb.zarr" / "rgb", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["levels"][0]["shape"] == [3, 718, 791]
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(("layout", "path"), [("xarray", "1/image"), ("{level}", "1"), ("a/{level}", "a/1")])
def test_sources_are_served_in_a_layout(tmp_path, monkeypatch, layout, path):
    zarr.create_array(tmp_path / "a.zarr", data=np.arange(4096.0).reshape(64, 64))
    serve, handles = lazypyr.serve, []
    monkeypatch.setattr(
        lazypyr, "serve", lambda sources, **options: handles.append(serve(sources, background=True, **options))
    )
    try:
        assert main(["serve", str(tmp_path / "a.zarr"), "--layout", layout, "--chunks", "32", "--port", "0"]) == 0
        level = zarr.open_array(f"{handles[0].url}/a/{path}", mode="r")
        np.testing.assert_array_equal(level[...], np.arange(4096.0).reshape(64, 64)[::2, ::2])
    finally:
        for handle in handles:
            handle.close()


def test_a_misspelt_layout_is_one_line(tmp_path, capsys):
    zarr.create_array(tmp_path / "a.zarr", data=np.zeros((8, 8)))
    assert main(["serve", str(tmp_path / "a.zarr"), "--layout", "xaray", "--port", "0"]) == 1
    complaint = capsys.readouterr().err
    assert "did you mean 'xarray'" in complaint
    assert "Traceback" not in complaint
