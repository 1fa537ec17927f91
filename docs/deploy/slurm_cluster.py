"""A Dask scheduler whose workers are SLURM jobs, for `hwsim sweep --scheduler ADDRESS`.

    pip install 'hwsim[sweep]' dask-jobqueue
    python docs/deploy/slurm_cluster.py --jobs 8 &
    hwsim sweep examples/sat_resnet18.yaml --scheduler tcp://LOGIN-NODE:8786 -o out

Run it on a machine that compute nodes can reach, in the environment that the workers shall have.
Files that a specification names (networks, matrices, accelerators) lie on a file system that all
nodes see; the folder of results stays on a local disk of the machine that runs `hwsim sweep`.
"""

from __future__ import annotations

import argparse
import signal

from dask_jobqueue import SLURMCluster


def main() -> None:
    """Start the scheduler, ask SLURM for jobs and keep them until Ctrl-C or SIGTERM."""
    parser = argparse.ArgumentParser(description="A Dask scheduler with workers in SLURM jobs.")
    parser.add_argument("--jobs", type=int, default=4, help="jobs that run at once")
    parser.add_argument("--cores", type=int, default=8, help="cores of a job, one worker each")
    parser.add_argument("--memory", default="16GB", help="memory of a job")
    parser.add_argument("--walltime", default="04:00:00", help="time limit of a job")
    parser.add_argument("--queue", default=None, help="partition")
    parser.add_argument("--account", default=None, help="account")
    parser.add_argument("--interface", default=None, help="network interface, such as ib0")
    parser.add_argument("--port", type=int, default=8786, help="port of the scheduler")
    parser.add_argument("--print", action="store_true", help="print the job script and stop")
    options = parser.parse_args()
    cluster = SLURMCluster(
        cores=options.cores,
        processes=options.cores,  # simulation holds Python's lock: processes, not threads
        memory=options.memory,
        walltime=options.walltime,
        queue=options.queue,
        account=options.account,
        interface=options.interface,
        scheduler_options={"port": options.port, "dashboard": False, "dashboard_address": ":0"},
        # a worker ends by itself before SLURM ends its job, so that no run is blamed for it
        worker_extra_args=["--lifetime", "220m", "--lifetime-stagger", "10m"],
    )
    if options.print:
        print(cluster.job_script())
        return
    cluster.adapt(minimum_jobs=1, maximum_jobs=options.jobs)
    print(f"scheduler at {cluster.scheduler_address}", flush=True)
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        signal.pause()
    except KeyboardInterrupt:
        cluster.close()


if __name__ == "__main__":
    main()
