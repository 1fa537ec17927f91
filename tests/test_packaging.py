"""The wheel: what it installs, and that it works beside a user's own `models` folder."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tomllib
import venv
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
ROOMS = {"hwsim": "hwsim", "models": "hwsim.models", "dataflows": "hwsim.dataflows",
         "rtl": "hwsim.rtl"}  # fmt: skip


def packages_on_disk():
    found = set()
    for folder, name in ROOMS.items():
        for init in (ROOT / folder).rglob("__init__.py"):
            parts = init.parent.relative_to(ROOT / folder).parts
            found.add(".".join((name, *parts)))
    return found


def test_listed_packages_are_those_on_disk():
    with (ROOT / "pyproject.toml").open("rb") as handle:
        listed = tomllib.load(handle)["tool"]["setuptools"]["packages"]
    assert set(listed) == packages_on_disk()


def test_every_module_has_a_docstring_and_public_names():
    import ast

    for folder in ROOMS:
        for path in (ROOT / folder).rglob("*.py"):
            tree = ast.parse(path.read_text())
            assert ast.get_docstring(tree), path
            assert len(path.read_text().splitlines()) <= 500, path


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    out = tmp_path_factory.mktemp("wheel")
    # from a copy: setuptools builds inside the source tree, where another worker may be building
    source = out / "source"
    source.mkdir()
    for folder in ("hwsim", "models", "dataflows", "rtl"):
        shutil.copytree(
            ROOT / folder, source / folder, ignore=shutil.ignore_patterns("__pycache__")
        )
    for file in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / file, source)
    subprocess.run(
        [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", str(out),
         str(source)],
        check=True,
        cwd=out,
    )  # fmt: skip
    return next(out.glob("*.whl"))


@pytest.mark.xdist_group("wheel")
def test_wheel_installs_one_name_and_its_data(wheel):
    names = zipfile.ZipFile(wheel).namelist()
    tops = {name.split("/")[0] for name in names}
    assert tops == {"hwsim", next(t for t in tops if t.endswith(".dist-info"))}
    for data in ("presets/sat.yaml", "presets/systolic.yaml", "models/digits_mlp.npz",
                 "rtl/lint.vlt"):  # fmt: skip
        assert f"hwsim/{data}" in names


@pytest.mark.xdist_group("wheel")
def test_wheel_runs_in_a_fresh_environment_beside_foreign_models(wheel, tmp_path):
    """The dependencies come from this environment, hwsim itself only from the wheel."""
    venv.create(tmp_path / "env", with_pip=False)
    site = next((tmp_path / "env" / "lib").glob("python*/site-packages"))
    zipfile.ZipFile(wheel).extractall(site)
    outer = next(p for p in sys.path if p.endswith("site-packages"))
    # below the wheel's own folder on the path, and without this checkout's editable finder
    (site / "outer.pth").write_text(outer + "\n")
    work = tmp_path / "work"
    (work / "models").mkdir(parents=True)
    (work / "models" / "__init__.py").write_text("raise ImportError('the user\\'s own models')\n")
    (work / "rtl.py").write_text("raise ImportError('the user\\'s own rtl')\n")
    code = (
        "import sys; sys.meta_path = [f for f in sys.meta_path if 'editable' not in repr(f)]\n"
        "import hwsim, pathlib\n"
        "assert 'env' in pathlib.Path(hwsim.__file__).parts, hwsim.__file__\n"
        "from hwsim.cli import main; main()\n"
    )
    python = tmp_path / "env" / "bin" / "python"
    env = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    for args in (["list"], ["simulate", "digits_cnn", "-a", "sat", "-o", "out"],
                 ["generate", "sat", "-s", "rows=1", "-s", "cols=1", "-o", "rtl-out"]):  # fmt: skip
        done = subprocess.run(
            [str(python), "-c", code, *args], cwd=work, capture_output=True, text=True,
            check=False, env=env,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
    assert (work / "out" / "cycles.png").exists()
    assert (work / "rtl-out" / "lint.vlt").exists()
