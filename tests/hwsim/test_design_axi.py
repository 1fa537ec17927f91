"""Files of the FPGA-ready tops, as an engineer finds them."""

import json
import re
import runpy

import pytest
from typer.testing import CliRunner

from hwsim.cli import app
from hwsim.config import load_config
from hwsim.design import write_design
from hwsim.errors import UserError
from hwsim.rtl.simulator import lint

SMALL = {
    "sat": [
        *("rows=2", "cols=2", "format=int8", "psum_depth=4"),
        *(f"buffers.{name}_bytes=256" for name in ("input", "weight", "output")),
    ],
    "spgemm": [
        *("lanes=1", "banks=2", "outputs=1", "entries=4", "probe_limit=2"),
        *("format=int32", "token_queue=2"),
    ],
    "delta": ["lanes=2", "detector_width=2", "address_bits=5", "bus.data=stream"],
}


@pytest.fixture(scope="module", params=sorted(SMALL))
def design(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp(request.param)
    config = load_config(request.param, SMALL[request.param])
    paths = write_design(config, folder)
    assert sorted(paths) == sorted(folder.iterdir())
    return request.param, folder


def test_core_and_top_are_one_design_without_lint(design):
    kind, folder = design
    text = (folder / f"{kind}_top.v").read_text() + (folder / f"{kind}_axi.v").read_text()
    assert re.search(rf"^  {kind}_top \S+ \($", text, re.MULTILINE)  # the core is an instance
    assert len(re.findall(rf"^module {kind}_top\(", text, re.MULTILINE)) == 1
    assert lint(text, f"{kind}_axi", folder / "lint.vlt") == ""


def test_the_manifest_says_what_the_verilog_has(design):
    kind, folder = design
    axi = json.loads((folder / "manifest.json").read_text())["axi"]
    module = re.search(rf"^module {kind}_axi\((.*?)\);", (folder / f"{kind}_axi.v").read_text(),
                       re.MULTILINE | re.DOTALL)  # fmt: skip
    assert set(re.findall(r"\w+", module[1])) == {*axi["ports"], "clk", "rst"}
    assert axi["ports"]["m_axi_araddr"] == {"direction": "output", "bits": 40}
    assert axi["ports"]["irq"] == {"direction": "output", "bits": 1}
    assert axi["registers"]["control"] == 0x10
    assert ("s_axis_x_tdata" in axi["ports"]) == (kind == "delta")


def test_the_register_files_agree(design):
    kind, folder = design
    axi = json.loads((folder / "manifest.json").read_text())["axi"]
    python = (folder / f"{kind}_registers.py").read_text()
    header = (folder / f"{kind}_registers.h").read_text()
    page = (folder / "registers.md").read_text()
    runpy.run_path(str(folder / f"{kind}_registers.py"))
    for name, offset in axi["registers"].items():
        assert re.search(rf"\b{name}\b", page)
        assert f"#define {kind.upper()}_{name.upper()} {offset:#x}u" in header
        assert f"'{name}': {offset:#x}," in python


def test_the_packaging_script_is_tcl_with_every_interface(design):
    tkinter = pytest.importorskip("tkinter")
    kind, folder = design
    script = (folder / "package_ip.tcl").read_text()
    assert tkinter.Tcl().eval(f"info complete {{{script}}}") == "1"
    found = set(re.findall(r"-busif (\S+)", script))
    assert {"s_axil", "m_axi"} <= found
    assert ("m_axis_o" in found) == (kind == "delta")
    for file in re.findall(r"\$here/(\w+\.v)", script):
        assert (folder / file).exists()


def test_a_training_engine_has_no_such_top(tmp_path):
    write_design(load_config("sat", ["rows=2", "cols=2"]), tmp_path, training=True)
    assert not list(tmp_path.glob("*_axi*"))
    assert "axi" not in json.loads((tmp_path / "manifest.json").read_text())


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["generate", "sat", "--bitstream"], "--board"),
        (["generate", "sat", "--board", "zed"], "ulx3s"),
        (["generate", "spgemm", "--board", "ulx3s"], "kind"),
        (["generate", "sat", "-s", "bus.data_bits=48"], "bus.data_bits"),
        (["generate", "sat", "-s", "bus.burst_beats=3"], "bus.burst_beats"),
    ],
)
def test_what_cannot_be_generated_is_one_sentence(arguments, words, tmp_path):
    result = CliRunner().invoke(app, [*arguments, "-o", str(tmp_path / "out")])
    assert isinstance(result.exception, UserError)
    assert words in str(result.exception)
    assert not (tmp_path / "out").exists()
