"""The law of the delta top: without a bus it is the simulator, with one it keeps its bounds."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from hwsim.axi_delta_cases import design_of, relatives
from hwsim.axi_delta_law import BusMemory, core_ends, list_cycles
from hwsim.config import load_config
from hwsim.dataflows.delta_sim import DeltaGaps, delta_timeline
from hwsim.delta_random import Design, designs, random_case
from hwsim.verify_axi_delta import case_program

SINGLE = [design for design in designs(load_config("delta")) if design.chain == 1]
ON_CHIP = (0, 0, 1, 1, 1, 1)


@given(st.sampled_from(range(len(SINGLE))), st.integers(0, 2**32))
@settings(max_examples=60, deadline=None)
def test_without_waiting_the_law_is_the_simulator(which, seed):
    design = SINGLE[which]
    work = random_case(design, seed, 0).works[0]
    line = delta_timeline([work], [design.shape])
    frames = len(work.counts)
    x = np.zeros(frames * work.input_words, np.int64)
    ends = core_ends(work, design.shape, x, work.set_words - 1, ON_CHIP)
    assert (ends == line.o_cycles.reshape(frames, -1)[:, -1]).all()


@given(st.sampled_from(range(len(SINGLE))), st.integers(0, 2**32), st.integers(1, 400))
@settings(max_examples=30, deadline=None)
def test_frames_that_come_late_end_as_the_simulator_says(which, seed, late):
    design = SINGLE[which]
    work = random_case(design, seed, 1).works[0]
    frames = len(work.counts)
    x = np.zeros(frames * work.input_words, np.int64)
    x[0] = late  # the others are there when it is
    line = delta_timeline([work], [design.shape], DeltaGaps(x=[late, *[0] * (len(x) - 1)]))
    ends = core_ends(work, design.shape, np.maximum(x, late), work.set_words - 1, ON_CHIP)
    assert (ends == line.o_cycles.reshape(frames, -1)[:, -1]).all()


def test_a_slower_memory_never_makes_a_list_shorter():
    for design in relatives(design_of(load_config("delta"))):
        case = random_case(Design(design.shape, 1), 11, 0)
        program = case_program(design, case)
        cycles = [
            list_cycles(
                design.shape, design.bus, program, case.works,
                BusMemory(latency=latency, write_latency=latency), on_chip=design.on_chip,
            )
            for latency in (0, 5, 20, 100)
        ]  # fmt: skip
        assert cycles == sorted(cycles)
        # layer and frames are read and written at least once for each of three descriptors
        assert cycles[-1] - cycles[0] >= 3 * 100
