"""Runs sparse products on the PIUMA model: configuration in, one record a product out."""

from __future__ import annotations

from hwsim.config_piuma import PiumaConfig
from hwsim.dataflows.piuma import WAITS, Die, MachineRun, run_kernel
from hwsim.energy import energy_parts
from hwsim.models.spgemm import SparseProduct
from hwsim.spgemm_run import SpgemmRun, apportion

__all__ = ["COUNTERS", "die_of", "run_product"]

COUNTERS = {
    "spgemm.piuma.instruction": "instruction",
    "spgemm.piuma.scratchpad": "scratchpad",
    "spgemm.piuma.atomic": "atomic",
    "spgemm.piuma.remote": "remote",
    "spgemm.piuma.barrier": "barrier",
    "spgemm.piuma.spin": "spin",
    "spgemm.piuma.dma": "dma_bytes",
    "spgemm.piuma.hop": "hop_bytes",
    "spgemm.piuma.window": "window",
    "spgemm.piuma.far_window": "overflow_window",
    "spgemm.cache.hit": "cache_hit",
    "spgemm.cache.miss": "cache_miss",
}
"""Registered counters of the machine and their names in the model."""
_OF_KERNEL = {
    "hash": {
        "spgemm.hash.probe": "probe",
        "spgemm.hash.insert": "insert",
        "spgemm.hash.accumulate": "accumulate",
    },
    "inner": {"spgemm.inner.pair": "pair", "spgemm.inner.compare": "compare"},
    "outer": {"spgemm.outer.partial": "partial", "spgemm.merge.compare": "compare"},
}


def run_product(product: SparseProduct, config: PiumaConfig) -> SpgemmRun:
    """Executes one product on the die.

    Raises:
        ValueError: the operands do not fit each other.
    """
    kernel = config.kernel if config.kernel in _OF_KERNEL else "hash"
    run = run_kernel(product.a, product.b, kernel, die_of(config), config.costs.model_dump())
    multiplies, nnz_c = run.counts["multiply"], run.z.nnz
    counters = {
        "spgemm.multiply": multiplies,
        "spgemm.add": multiplies - nnz_c,
        "spgemm.nnz_c": nnz_c,
    }
    names = _OF_KERNEL[kernel] | COUNTERS
    counters |= {name: run.counts[key] for name, key in names.items()}
    read = sum(v for n, v in run.bytes_by_cause.items() if n.endswith(".read"))
    counters["dram.read"] = read
    counters["dram.write"] = sum(run.bytes_by_cause.values()) - read
    counters["spgemm.piuma.cycle"] = run.cycles
    return SpgemmRun(
        layer=product.layer,
        op=product.op,
        m=product.m,
        n=product.n,
        k=product.k,
        nnz_a=product.a.nnz,
        nnz_b=product.b.nnz,
        nnz_c=nnz_c,
        dataflow=config.kernel,
        cycles=run.cycles,
        parts=_parts(run),
        macs_dense=product.m * product.n * product.k,
        macs_effective=multiplies,
        bytes_by_cause=run.bytes_by_cause,
        counters=counters,
        energy_parts_pj=energy_parts(config, counters),
        z=run.z,
        machine=run,
    )


def die_of(config: PiumaConfig) -> Die:
    """The configuration as the model takes it."""
    pipes, pad, cache, mesh = config.pipelines, config.scratchpad, config.cache, config.mesh
    dma, dram, window, switches = config.dma, config.dram, config.window, config.switches
    return Die(
        cores=config.cores,
        mtps=pipes.mtps,
        threads=pipes.threads,
        depth=pipes.depth,
        stps=pipes.stps,
        barrier_cycles=pipes.barrier_cycles,
        banks=pad.banks,
        scratchpad_latency=pad.latency_cycles,
        atomic_cycles=pad.atomic_cycles,
        float_add_cycles=pad.float_add_cycles,
        cache_bytes=cache.size_bytes,
        cache_ways=cache.ways,
        line_bytes=cache.line_bytes,
        cache_latency=cache.latency_cycles,
        mesh_columns=mesh.columns,
        mesh_rows=mesh.rows,
        hop_cycles=mesh.hop_cycles,
        link_bytes=mesh.link_bytes,
        header_bytes=mesh.header_bytes,
        dma_bytes_per_cycle=dma.bytes_per_cycle,
        dma_setup_cycles=dma.setup_cycles,
        dma_chunk_bytes=dma.chunk_bytes,
        dram_bytes_per_cycle=dram.bytes_per_cycle,
        channels=dram.channels,
        dram_latency=dram.latency_cycles,
        burst_bytes=dram.burst_bytes,
        interleave_bytes=dram.interleave_bytes,
        store_cycles=dram.store_cycles,
        store_queue_cycles=dram.store_queue_cycles,
        table_slots=window.table_slots,
        table_load=window.table_load,
        per_core=window.per_core,
        max_rows=window.max_rows,
        token_size=window.token_size,
        row_token=window.row_token,
        merge_products=window.merge_products,
        inner_columns=window.inner_columns,
        work_static=switches.work == "static",
        hash_high=switches.hash == "high",
        table_offset=switches.table == "offset",
        write_dma=switches.write_back == "dma",
    )


def _parts(run: MachineRun) -> dict[str, int]:
    """Cycles by cause: in proportion to what all threads did with theirs."""
    weights = {"issue": int(run.thread_issue.sum())}
    weights |= dict(zip(WAITS, run.thread_wait.sum(axis=0).tolist(), strict=True))
    return apportion(run.cycles, weights)
