"""Sweeps on Dask: a scheduler and its workers, killed processes, a run that kills its worker."""

from __future__ import annotations

import os
import random
import signal
import socket
import sqlite3
import subprocess
import sys
import time
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import pandas as pd
import pytest
import yaml

from hwsim import sweep_run
from hwsim.errors import UserError
from hwsim.sweep_execute import DaskExecutor, choose_executor, run_batch
from hwsim.sweep_methods import make_sampler
from hwsim.sweep_points import Maker
from hwsim.sweep_spec import load_spec
from hwsim.sweep_table import TIMING

run_sweep = partial(sweep_run.run_sweep, figures=False)

pytest.importorskip("distributed")

SMALL = {
    "accelerator": "sat",
    "workloads": ["resnet9", "digits_cnn"],
    "parameters": {"rows": [4, 8, 16], "cols": [4, 8], "sparsity": ["dense", "2:4"]},
}
LARGE = {
    "accelerator": "sat",
    "workloads": ["resnet18", "resnet9"],
    "phase": "training",
    "batch": 4,
    "parameters": {
        "rows": [4, 8, 16, 32],
        "cols": [4, 8, 16, 32],
        "sparsity": ["dense", "2:4", "2:8"],
        "psum_depth": [128, 512],
    },
}


def results_of(frame):
    """The results without the columns that tell how long they took."""
    return frame.drop(columns=list(TIMING))


def runs_of(spec):
    resolved = load_spec(spec)
    return [p.runs[0] for p in make_sampler(resolved, Maker(resolved)).ask()]


def recorded(folder):
    """Keys in the record of `folder`, in the order in which they came."""
    if not (folder / "results.sqlite").exists():
        return []
    database = sqlite3.connect(folder / "results.sqlite")
    try:
        return [key for (key,) in database.execute("SELECT key FROM runs ORDER BY position")]
    except sqlite3.OperationalError:  # the table is not there yet
        return []
    finally:
        database.close()


def start(*args):
    """A Python process in a group of its own."""
    return subprocess.Popen(
        [sys.executable, *map(str, args)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        start_new_session=True,
        text=True,
    )


def sweep(*args):
    return start("-c", "from hwsim.cli import main; main()", "sweep", *args)


def kill(process):
    """The process and its children, as a batch system would."""
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate(timeout=30)


def workers_of(process):
    """Process numbers of the workers that a sweep has started, of any of its threads."""
    found = []
    for task in Path(f"/proc/{process.pid}/task").iterdir():
        for pid in (task / "children").read_text().split():
            if b"spawn_main" in Path(f"/proc/{pid}/cmdline").read_bytes():
                found.append(int(pid))
    return found


def wait_until(condition, process=None, seconds=120):
    """Whether a condition came true before the process ended."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it takes too long"
        if process is not None and process.poll() is not None:
            return False
        time.sleep(0.02)
    return True


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@contextmanager
def cluster(tmp_path, workers=2):
    """A scheduler on a free port and its workers, each a process of its own."""
    port = free_port()
    address = f"tcp://127.0.0.1:{port}"
    common = ("--dashboard-address", "127.0.0.1:0")
    scheduler = start(
        "-m", "distributed.cli.dask_scheduler", "--host", "127.0.0.1", "--port", port, *common
    )
    processes = [scheduler]
    try:
        wait_until(lambda: _listens(port), scheduler)
        for i in range(workers):
            folder = tmp_path / f"worker{i}"
            folder.mkdir(exist_ok=True)
            processes.append(
                start(
                    "-m", "distributed.cli.dask_worker", address, "--nthreads", 1, "--no-dashboard",
                    "--local-directory", folder,
                )
            )  # fmt: skip
        yield address, processes
    finally:
        for process in processes:
            if process.poll() is None:
                kill(process)


def _listens(port):
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def test_an_unreachable_scheduler_costs_a_sentence_and_writes_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr("hwsim.sweep_execute._CONNECT_SECONDS", 1)
    nobody = f"tcp://127.0.0.1:{free_port()}"
    for address, said in (
        (nobody, f"--scheduler {nobody}: no Dask scheduler answers there"),
        ("nowhere", "--scheduler must read tcp://HOST:PORT, but got 'nowhere'"),
        ("tcp://127.0.0.1:http", "--scheduler must read tcp://HOST:PORT"),
        ("udp://x:1", "udp://x:1"),
    ):
        with pytest.raises(UserError) as caught:
            run_sweep(SMALL, tmp_path / "out", scheduler=address)
        assert said in str(caught.value)
        assert "\n" not in str(caught.value)
        assert not list((tmp_path / "out").iterdir())


def test_without_dask_a_sentence_or_one_process(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("hwsim.sweep_execute.find_spec", lambda name: None)
    monkeypatch.setattr("hwsim.sweep_run.find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"--workers 2 needs Dask, .*pip install 'hwsim\[sweep\]'"):
        run_sweep(SMALL, tmp_path / "out", workers=2)
    with pytest.raises(UserError, match="--scheduler needs Dask"):
        choose_executor(0, "tcp://127.0.0.1:1", ())
    small = SMALL | {"workloads": ["digits_cnn"], "parameters": {"rows": [4]}}
    monkeypatch.setattr("os.cpu_count", lambda: 4)
    assert len(run_sweep(small, tmp_path / "one")) == 1
    assert "Dask is not installed" in capsys.readouterr().err


def test_a_worker_with_other_code_is_refused():
    with pytest.raises(UserError, match="another version of hwsim"):
        run_batch([], (), "0000")


@pytest.mark.slow
def test_a_scheduler_with_two_workers_gives_what_one_process_gives(tmp_path):
    want = run_sweep(SMALL, tmp_path / "one", workers=1)
    with cluster(tmp_path) as (address, _):
        path = tmp_path / "spec.yaml"
        path.write_text(yaml.safe_dump(SMALL, sort_keys=False))
        got = run_sweep(path, tmp_path / "out", scheduler=address)
        pd.testing.assert_frame_equal(results_of(want), results_of(got))
        again = run_sweep(path, tmp_path / "out", scheduler=address, resume=True)
        pd.testing.assert_frame_equal(got, again)


@pytest.mark.slow
def test_a_scheduler_that_is_killed_loses_nothing(tmp_path):
    calm = run_sweep(LARGE, tmp_path / "calm", workers=1)
    out = tmp_path / "out"
    path = tmp_path / "spec.yaml"
    path.write_text(yaml.safe_dump(LARGE, sort_keys=False))
    spec = load_spec(path)
    executor = None
    with cluster(tmp_path) as (address, processes), pytest.raises(UserError) as caught:
        executor = Spy(DaskExecutor(2, address), lambda: kill(processes[0]))
        with executor.inner:
            run_sweep(spec, out, executor=executor)
    assert "connection to the Dask scheduler" in str(caught.value)
    assert "--resume goes on" in str(caught.value)
    kept = recorded(out)
    assert 0 < len(kept) < len(calm)
    with cluster(tmp_path) as (address, _):
        frame = run_sweep(spec, out, scheduler=address, resume=True)
    assert recorded(out)[: len(kept)] == kept
    assert len(recorded(out)) == len(set(recorded(out))) == len(calm)
    pd.testing.assert_frame_equal(results_of(calm), results_of(frame))


class Spy:
    """An executor that does something after the first batch."""

    def __init__(self, inner, after):
        self.inner, self.after = inner, after

    def run(self, runs):
        for i, finished in enumerate(self.inner.run(runs)):
            yield finished
            if i == 0:
                self.after()


@pytest.mark.slow
def test_killed_workers_and_clients_lose_and_repeat_nothing(tmp_path):
    calm = run_sweep(LARGE, tmp_path / "calm", workers=1)
    path, out = tmp_path / "spec.yaml", tmp_path / "out"
    path.write_text(yaml.safe_dump(LARGE, sort_keys=False))
    rng = random.Random(8)
    kept, clients, workers = [], 0, 0
    while True:
        process = sweep(path, "-o", out, "--workers", "2", *(["--resume"] if out.exists() else []))
        with process:
            more = len(kept) + rng.randint(1, 15)
            alive = wait_until(lambda: len(recorded(out)) >= more, process)  # noqa: B023
            if alive and workers < 3:
                os.kill(rng.choice(workers_of(process)), signal.SIGKILL)
                workers += 1
                more = len(recorded(out)) + rng.randint(1, 15)  # it goes on without that worker
                alive = wait_until(lambda: len(recorded(out)) >= more, process)  # noqa: B023
            if alive and clients < 3:
                time.sleep(rng.uniform(0, 0.3))
                kill(process)
                clients += 1
            else:
                _, errors = process.communicate(timeout=300)
                assert process.returncode == 0, errors
                assert errors == ""
                break
        found = recorded(out)
        assert found[: len(kept)] == kept  # nothing that was finished is lost or done again
        kept = found
    assert (clients, workers) == (3, 3)
    keys = recorded(out)
    assert len(keys) == len(set(keys)) == len(calm)
    frame = pd.read_csv(out / "results.csv")
    pd.testing.assert_frame_equal(
        results_of(pd.read_csv(tmp_path / "calm" / "results.csv")), results_of(frame)
    )


@pytest.mark.slow
def test_a_run_that_kills_its_worker_is_recorded_and_the_rest_runs(tmp_path, monkeypatch):
    killer = str(Path(__file__).parent / "sweep_killer")
    monkeypatch.setenv("PYTHONPATH", killer, prepend=os.pathsep)
    every = runs_of(SMALL)
    frame = run_sweep(SMALL, tmp_path / "out", workers=2)
    assert len(every) == len(frame)
    killers = frame[(frame["rows"] == 8) & (frame["cols"] == 8) & (frame["sparsity"] == "dense")]
    assert killers["status"].tolist() == ["failed", "failed"]
    assert killers["error"].tolist() == ["it killed its worker 3 times"] * 2
    assert (frame.drop(killers.index)["status"] == "done").all()


class LosingClient:
    """A client whose scheduler loses batches: the futures' states are given, one a submission."""

    status = "running"

    def __init__(self, states):
        self.states = list(states)
        self.sent = []

    def submit(self, function, batch, wanted, version, *, key, pure):
        self.sent.append([run.key for run in batch])
        return LostFuture(self.states.pop(0) if self.states else ["finished"], function, batch)

    def cancel(self, futures, force):
        assert force


class LostFuture:
    def __init__(self, states, function, batch):
        self.states, self.batch = list(states), batch

    @property
    def status(self):
        return self.states[0]

    def add_done_callback(self, call):
        if len(self.states) > 1 and self.states[0] in ("pending", "lost"):
            self.states.pop(0)  # Dask did it again
        call(self)

    def result(self, timeout):
        return [({"status": "done", "error": ""}, 0.01) for _ in self.batch]


def test_a_batch_that_the_scheduler_lets_go_of_is_done_again():
    runs = runs_of(SMALL)
    executor = DaskExecutor(2, None)
    executor._client = LosingClient([["cancelled"], ["lost", "finished"], ["cancelled"]])
    found = [done.key for some in executor.run(runs) for done in some]
    assert sorted(found) == sorted(run.key for run in runs)
    sent = [key for batch in executor._client.sent for key in batch]
    assert len(sent) == len(runs) + sum(map(len, (executor._client.sent[i] for i in (0, 2))))

    executor = DaskExecutor(2, None)
    executor._client = LosingClient([["cancelled"]] * 100)
    with pytest.raises(UserError, match="the connection to the Dask scheduler of this machine"):
        list(executor.run(runs))
    assert len(executor._client.sent) < 30
