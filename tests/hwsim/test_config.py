"""Configurations: presets, overrides, round trips, errors."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hwsim.config import dump_config, load_config, preset_names, preset_text, replace
from hwsim.errors import UserError


@pytest.mark.parametrize("name", preset_names())
def test_presets_load_and_round_trip(name, tmp_path):
    config = load_config(name)
    path = tmp_path / "config.yaml"
    path.write_text(dump_config(config))
    assert load_config(path) == config
    assert hash(load_config(path)) == hash(config)


@pytest.mark.parametrize("name", preset_names())
def test_every_number_of_a_preset_has_its_source(name):
    """A comment on the number's line, or on the line that opens its block."""
    block = ""
    for line in preset_text(name).splitlines():
        text, _, comment = line.partition("#")
        if not text.strip():
            block = comment or block
            continue
        if text.rstrip().endswith(":"):
            block = comment
            continue
        key, _, value = text.partition(":")
        if any(c.isdigit() for c in value):
            assert comment or block, f"{name}: {key.strip()} has no source"


@given(
    st.integers(1, 64),
    st.integers(1, 64),
    st.sampled_from(["dense", "1:2", "2:4", "2:8", "4:16"]),
    st.sampled_from(["os", "ws", "auto"]),
    st.one_of(st.none(), st.floats(0.001, 1e6)),
)
def test_overrides_round_trip(rows, cols, sparsity, flow, bandwidth):
    value = "null" if bandwidth is None else repr(bandwidth)
    config = load_config(
        "sat",
        [f"rows={rows}", f"cols={cols}", f"sparsity={sparsity}", f"dataflow={flow}",
         f"dram.bytes_per_cycle={value}"],
    )  # fmt: skip
    assert (config.rows, config.cols, config.sparsity) == (rows, cols, sparsity)
    assert config.dram.bytes_per_cycle == bandwidth
    assert replace(config, {}) == config


def test_derived_figures():
    config = load_config("sat")
    assert config.pes == 1024
    assert config.group_size == 8
    assert config.index_bits == 3
    assert config.peak_macs_per_s == 204.8e9
    assert load_config("sat", ["sparsity=dense"]).group_size == 8
    assert load_config("sat", ["sparsity=4:16"]).group_size == 16
    assert load_config("sat", ["group=16"]).group_size == 16


def test_last_override_wins_and_yaml_1_2_is_read():
    assert load_config("sat", ["rows=4", "rows=5"]).rows == 5
    assert load_config("sat", ["sparsity=2:8"]).sparsity == "2:8"  # not the base-60 number 128
    assert load_config("sat", ["clock_hz=1e8"]).clock_hz == 1e8


@pytest.mark.parametrize(
    ("override", "text"),
    [
        ("rows=0", "rows: input should be greater than or equal to 1, but got 0"),
        ("rows=-3", "rows: input should be greater than or equal to 1, but got -3"),
        ("rows=4.5", "rows: input should be a valid integer, but got 4.5"),
        ("rows=many", "rows: input should be a valid integer, but got 'many'"),
        ("rows=", "rows: input should be a valid integer, but got None"),
        ("row=4", "row: there is no such field; those here are name, rows, cols"),
        ("buffers.input=4", "buffers.input: there is no such field; those here are input_bytes"),
        ("rows.x=4", "rows.x: rows has no fields of its own"),
        ("rows", "an override must read KEY=VALUE, but got 'rows'"),
        ("=4", "an override must read KEY=VALUE, but got '=4'"),
        ("rows=[1", "override rows: '[1' is not a YAML value"),
        ("sparsity=4:2", "sparsity: an N:M pattern needs 1 <= N <= M <= 32, but got N=4, M=2"),
        ("sparsity=2/4", "sparsity: a sparsity must be 'dense' or 'N:M'"),
        ("format=fp8", "format: format must be one of fp16, int8, but got 'fp8'"),
        ("dataflow=rs", "dataflow: input should be 'os', 'ws' or 'auto', but got 'rs'"),
        ("clock_hz=.nan", "clock_hz: input should be a finite number"),
        ("clock_hz=0", "clock_hz: input should be greater than 0, but got 0"),
        ("dram.latency_cycles=-1", "dram.latency_cycles: input should be greater than or equal"),
        ("dram=3", "dram: input should be a valid dictionary"),
        ("group=12", "group must be a multiple of the M of sparsity, but got group=12"),
        ("psum_depth=100", "psum_depth must be a power of two, but got 100"),
        ("kind=tpu", "kind: must be one of systolic, sat, spgemm, "),
    ],
)
def test_override_errors(override, text):
    with pytest.raises(UserError) as caught:
        load_config("sat", [override])
    assert text in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("content", "text"),
    [
        ("", "must be a mapping of fields, but got nothing"),
        ("- 1", "must be a mapping of fields, but got a list"),
        ("kind: sat\nrows: [", "is not valid YAML at line 2"),
        ("kind: sat\n\trows: 4", "is not valid YAML at line 2"),
        ("kind: sat", "name: this field is required"),
        ("rows: 3", "kind: must be one of systolic, sat"),
    ],
)
def test_file_errors(tmp_path, content, text):
    path = tmp_path / "c.yaml"
    path.write_text(content)
    with pytest.raises(UserError) as caught:
        load_config(path)
    assert text in str(caught.value)
    assert "\n" not in str(caught.value)


def test_unreadable_files(tmp_path):
    with pytest.raises(UserError, match=r"cannot read configuration .*none\.yaml: No such file"):
        load_config(tmp_path / "none.yaml")
    binary = tmp_path / "b.yaml"
    binary.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(UserError, match="it is not UTF-8 text"):
        load_config(binary)
    with pytest.raises(UserError, match=r"'tpu' is neither a preset \(.*sat.*\) nor a YAML"):
        load_config("tpu")


def test_a_key_stands_in_a_mapping_once():
    from hwsim.yaml12 import parse_yaml

    assert parse_yaml("a: 1\nb: &x {c: 2}\nd: {<<: *x, c: 3}\n", "f")["d"] == {"c": 3}
    with pytest.raises(
        UserError, match=r"f is not valid YAML at line 2, .*key c stands there twice"
    ):
        parse_yaml("a: 1\nb: {c: 2, c: 3}\n", "f")
