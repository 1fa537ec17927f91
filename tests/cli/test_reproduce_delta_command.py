"""`hwsim reproduce delta` from the command line: one JSON object, its keys, exit status 2."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
from networks import find


def hwsim(*arguments):
    return subprocess.run(
        [sys.executable, "-c", "from hwsim.cli import main; main()", *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=300,
    )


def test_a_folder_that_is_not_there(tmp_path):
    done = hwsim("reproduce", "delta", "--data", tmp_path / "none")
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.strip().endswith(f"data must be a folder, but got {tmp_path / 'none'}")
    assert "Traceback" not in done.stderr


@pytest.mark.slow
def test_one_json_object_with_the_contract_s_keys():
    find("nsnet2")
    done = hwsim("reproduce", "delta", "--json")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert len(found["edgedrnn"]) == 9
    assert len(found["eyeriss_v2"]) == 4
    for row in found["edgedrnn"] + found["eyeriss_v2"]:
        assert row["cycles"] == row["oracle"] > 0
    assert all({"layers", "inputs", "hidden", "nnz"} <= set(row) for row in found["edgedrnn"])
    assert [row["theta"] for row in found["nsnet2"]] == [0, 8, 32, 64]
    cycles = [row["cycles_mean"] for row in found["nsnet2"]]
    assert cycles == sorted(cycles, reverse=True)
    sparsity = [row["sparsity"] for row in found["nsnet2"]]
    assert sparsity == sorted(sparsity)
    for row in found["nsnet2"]:
        assert row["cycles_p95"] > row["cycles_mean"]
        assert row["snr_db"] > 25
    keys = {"density_ratio", "accuracy_baseline", "accuracy_dal"}
    assert keys <= set(found["dal"]) or any("study" in note for note in found["notes"])
