"""Deployment files of docs/deploy: syntax, and that what they call exists."""

from __future__ import annotations

import ast
import re
import subprocess
from pathlib import Path

import pytest
import yaml

DEPLOY = Path(__file__).parents[2] / "docs" / "deploy"


def options_of(command):
    """Options that `dask scheduler` or `dask worker` takes."""
    pytest.importorskip("distributed")
    from importlib import import_module

    main = import_module(f"distributed.cli.dask_{command}").main
    return {o for p in main.params for o in (*p.opts, *p.secondary_opts) if o.startswith("--")}


def manifests():
    text = (DEPLOY / "kubernetes.yaml").read_text()
    return {(m["kind"], m["metadata"]["name"]): m for m in yaml.safe_load_all(text)}


def test_kubernetes_manifests_fit_together():
    found = manifests()
    assert set(found) == {
        ("Service", "hwsim-scheduler"), ("Deployment", "hwsim-scheduler"),
        ("Deployment", "hwsim-worker"),
    }  # fmt: skip
    versions = {"Service": "v1", "Deployment": "apps/v1"}
    for (kind, _), manifest in found.items():
        assert manifest["apiVersion"] == versions[kind]
        assert set(manifest) == {"apiVersion", "kind", "metadata", "spec"}
    service = found["Service", "hwsim-scheduler"]["spec"]
    scheduler = found["Deployment", "hwsim-scheduler"]["spec"]
    worker = found["Deployment", "hwsim-worker"]["spec"]
    for deployment in (scheduler, worker):
        assert deployment["selector"]["matchLabels"] == deployment["template"]["metadata"]["labels"]
        for container in deployment["template"]["spec"]["containers"]:
            assert {"name", "image", "args", "resources"} <= set(container)
            assert all(isinstance(arg, str) for arg in container["args"])
    assert service["selector"] == scheduler["selector"]["matchLabels"]
    port = service["ports"][0]["port"]
    started = scheduler["template"]["spec"]["containers"][0]
    assert started["args"][started["args"].index("--port") + 1] == str(port)
    assert started["ports"][0]["containerPort"] == service["ports"][0]["targetPort"] == port
    args = worker["template"]["spec"]["containers"][0]["args"]
    assert f"tcp://hwsim-scheduler:{port}" in args


def test_commands_have_these_options():
    for name in ("scheduler", "worker"):
        deployment = manifests()["Deployment", f"hwsim-{name}"]["spec"]["template"]
        dask, command, *args = deployment["spec"]["containers"][0]["args"]
        assert (dask, command) == ("dask", name)
        assert {a for a in args if a.startswith("--")} <= options_of(name)
    text = (DEPLOY / "workers.sbatch").read_text().replace("\\\n", " ")
    line = next(line for line in text.splitlines() if "dask worker" in line)
    used = set(re.findall(r" (--[a-z-]+)", line))
    assert {"--nthreads", "--lifetime"} <= used <= options_of("worker")


def test_the_batch_script_is_shell():
    path = DEPLOY / "workers.sbatch"
    subprocess.run(["bash", "-n", str(path)], check=True, timeout=20)
    options = [line for line in path.read_text().splitlines() if line.startswith("#SBATCH")]
    assert all(re.fullmatch(r"#SBATCH --[a-z-]+=\S+", line) for line in options)
    assert options


def test_the_slurm_script_is_python_and_prints_a_job(tmp_path):
    source = (DEPLOY / "slurm_cluster.py").read_text()
    tree = ast.parse(source)
    calls = [n for n in ast.walk(tree) if isinstance(n, ast.Call)]
    made = next(c for c in calls if getattr(c.func, "id", "") == "SLURMCluster")
    extra = next(k.value for k in made.keywords if k.arg == "worker_extra_args")
    given = {e.value for e in extra.elts if e.value.startswith("--")}
    assert given <= options_of("worker")
    keywords = {k.arg for k in made.keywords}
    assert {"cores", "processes", "memory", "walltime", "scheduler_options"} <= keywords


def test_the_image_installs_the_extra():
    lines = (DEPLOY / "Dockerfile").read_text().splitlines()
    steps = [line.split(maxsplit=1) for line in lines if line and not line.startswith("#")]
    assert steps[0][0] == "FROM"
    assert {s[0] for s in steps} <= {"FROM", "COPY", "RUN", "USER", "WORKDIR"}
    assert any("[sweep]" in s[1] for s in steps if s[0] == "RUN")
