"""Where runs of a sweep are executed: this process, processes of this machine, a Dask cluster.

Both kinds of cluster are Dask's. Runs travel in batches that take a fraction of a second, so that
short runs are not dominated by messages and little is lost with a worker. A run whose worker dies
is tried again by Dask on another; one that was there at several deaths is then run with nothing
beside it, so that only the run that kills workers is blamed.
"""

from __future__ import annotations

import logging
import queue
import signal
import sys
import time
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from importlib.util import find_spec
from multiprocessing import resource_tracker
from types import TracebackType
from typing import Any, Protocol

from hwsim.errors import UserError
from hwsim.sweep_points import Run, code_version, evaluate
from hwsim.sweep_store import Finished

__all__ = ["DaskExecutor", "Executor", "SerialExecutor", "choose_executor", "run_batch"]

_BATCH_SECONDS = 0.2
"""Time that a batch should take; not given; chosen as ten round trips of a Dask task."""
_BATCH_LIMIT = 256
_CONNECT_SECONDS = 10
_LOOK_SECONDS = 2.0
_FAILURES = 2
"""Deaths of workers that Dask forgives a batch on a local cluster; not given; chosen so that a run
is blamed after three of them."""
_FORGOTTEN = 8
"""Batches that may be lost without a reason in a sweep; not given; chosen as a few times the deaths
of workers that one bad run causes."""
_LOGGERS = ("distributed", "tornado", "asyncio")


class Executor(Protocol):
    """Executes runs somewhere and yields what is finished, in any order."""

    def run(self, runs: Sequence[Run]) -> Iterator[list[Finished]]: ...

    def __enter__(self) -> Executor: ...

    def __exit__(self, kind: Any, value: Any, trace: Any) -> None: ...


def choose_executor(workers: int, scheduler: str | None, wanted: Sequence[str]) -> Executor:
    """The executor that was asked for.

    Args:
        workers: processes of this machine; 1 is this process alone.
        scheduler: address of a Dask scheduler, which takes the place of `workers`.
        wanted: measures beside the basic ones.

    Raises:
        UserError: Dask is needed and not installed, or that is no address.
    """
    if scheduler is None and workers == 1:
        return SerialExecutor(wanted)
    if find_spec("distributed") is None:
        what = f"--workers {workers}" if scheduler is None else "--scheduler"
        raise UserError(
            f"{what} needs Dask, which the sweep extra brings: pip install 'hwsim[sweep]'; "
            "--workers 1 runs without"
        )
    if scheduler is not None:
        _check_address(scheduler)
    return DaskExecutor(workers, scheduler, wanted)


def run_batch(
    runs: Sequence[Run], wanted: Sequence[str], version: str
) -> list[tuple[dict[str, Any], float]]:
    """Outcomes of runs and the seconds that each took; this is what a worker executes.

    Raises:
        UserError: the worker's simulator is not the one that `version` is the hash of.
    """
    if code_version() != version:
        raise UserError("a worker has another version of hwsim than this process")
    found = []
    for run in runs:
        started = time.perf_counter()
        outcome = evaluate(run, wanted)
        found.append((outcome, time.perf_counter() - started))
    return found


class SerialExecutor:
    """All runs in this process."""

    def __init__(self, wanted: Sequence[str] = ()) -> None:
        self._wanted = wanted

    def __enter__(self) -> SerialExecutor:
        return self

    def __exit__(self, kind: Any, value: Any, trace: Any) -> None:
        pass

    def run(self, runs: Sequence[Run]) -> Iterator[list[Finished]]:
        done: list[Finished] = []
        begun = time.perf_counter()
        for run in runs:
            started = time.perf_counter()
            outcome = evaluate(run, self._wanted)
            ended = time.perf_counter()
            done.append(Finished(run.key, outcome, ended - started))
            if ended - begun >= _BATCH_SECONDS:
                yield done
                done, begun = [], ended
        if done:
            yield done


class DaskExecutor:
    """Runs on a local cluster of processes, or on the workers of a scheduler.

    Raises:
        UserError: on entry, no scheduler answers at the address.
    """

    def __init__(self, workers: int, scheduler: str | None, wanted: Sequence[str] = ()) -> None:
        self._workers = workers
        self._address = scheduler
        self._wanted = tuple(wanted)
        self._version = code_version()
        self._seconds = 0.0  # of a run, as seen of late
        self._look_again = 0.0
        self._lost = 0
        self._stack = ExitStack()
        self._client: Any = None

    def __enter__(self) -> DaskExecutor:
        with ExitStack() as stack:
            stack.enter_context(_quiet())
            self._client = self._remote(stack) if self._address else self._local(stack)
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stack.close()

    def run(self, runs: Sequence[Run]) -> Iterator[list[Finished]]:
        waiting = deque(runs)
        suspects: deque[Run] = deque()
        flying: dict[Any, list[Run]] = {}
        alone = False  # the run in flight has nothing beside it
        ready: queue.SimpleQueue[Any] = queue.SimpleQueue()
        try:
            while waiting or suspects or flying:
                while waiting and len(flying) < self._at_once():
                    self._submit(self._batch(waiting), flying, ready)
                if suspects and not waiting and not flying:
                    self._submit([suspects.popleft()], flying, ready)
                    alone = True
                future = self._next(ready)
                if future is None or future not in flying:
                    continue
                if future.status in ("pending", "lost"):
                    # its worker died between the end of the batch and now: Dask does it again
                    future.add_done_callback(ready.put)
                    continue
                batch = flying.pop(future)
                if future.status == "cancelled" and self._forgotten():
                    waiting.extendleft(reversed(batch))
                    continue
                done = self._outcomes(future, batch, alone)
                if done is None:
                    suspects.extend(batch)
                else:
                    yield done
        finally:
            with suppress(Exception):  # the scheduler may be gone
                self._client.cancel(list(flying), force=True)

    def _forgotten(self) -> bool:
        """Whether a scheduler that still runs let go of a batch, seen when a worker dies on a busy
        machine; a few times are forgiven."""
        self._lost += 1
        return self._lost <= _FORGOTTEN and self._client.status == "running"

    def _batch(self, waiting: deque[Run]) -> list[Run]:
        """The next runs: as many as take `_BATCH_SECONDS`, fewer near the end."""
        size = round(_BATCH_SECONDS / self._seconds) if self._seconds else 1
        share = len(waiting) // (2 * self._at_once())
        return [waiting.popleft() for _ in range(max(1, min(size, share, _BATCH_LIMIT)))]

    def _at_once(self) -> int:
        """Batches on their way: one in work and one queued for every thread, and one spare."""
        now = time.monotonic()
        if self._address and now >= self._look_again:  # workers of a cluster come and go
            self._workers = sum(self._client.nthreads().values())
            self._look_again = now + _LOOK_SECONDS
        return 2 * max(1, self._workers) + 1

    def _submit(self, batch: list[Run], flying: dict[Any, list[Run]], ready: Any) -> None:
        key = f"hwsim-{batch[0].key}-{time.monotonic_ns()}"
        future = self._client.submit(
            run_batch, batch, self._wanted, self._version, key=key, pure=False
        )
        flying[future] = batch
        future.add_done_callback(ready.put)

    def _next(self, ready: Any) -> Any:
        """The next future that is done; None after a second without one."""
        try:
            return ready.get(timeout=1.0)
        except queue.Empty:
            if self._client.status not in ("running", "newly-created"):
                raise UserError(_LOST.format(self._address or "of this machine")) from None
            return None

    def _outcomes(self, future: Any, batch: list[Run], alone: bool) -> list[Finished] | None:
        """What a batch gave; None if its worker died, and one run of it may be why."""
        from distributed.scheduler import KilledWorker

        if future.status == "finished":
            try:
                pairs = future.result(timeout=60)
            except UserError:
                raise
            except Exception as error:  # the connection broke between the two lines
                raise UserError(f"{_LOST.format(self._address)}: {error}") from None
            took = sum(seconds for _, seconds in pairs) / len(pairs)
            # a worker's first run also loads kernels: a shorter time is believed at once
            old = self._seconds or took
            self._seconds = min(took, 0.7 * old + 0.3 * took)
            return [Finished(r.key, *pair) for r, pair in zip(batch, pairs, strict=True)]
        if future.status == "error":
            problem = future.exception()
            if isinstance(problem, KilledWorker):
                if len(batch) > 1 or not alone:
                    return None
                text = f"it killed its worker {problem.allowed_failures + 1} times"
                return [Finished(batch[0].key, {"status": "failed", "error": text}, 0.0)]
            if isinstance(problem, UserError):
                raise problem
            reason = f"{type(problem).__name__}: {problem}".splitlines()[0]
            raise UserError(f"a worker could not run a batch: {reason}")
        raise UserError(_LOST.format(self._address or "of this machine"))

    def _local(self, stack: ExitStack) -> Any:
        import dask
        from distributed import Client, LocalCluster

        stack.enter_context(
            dask.config.set(
                {
                    "distributed.scheduler.allowed-failures": _FAILURES,
                    "distributed.worker.preload": ["hwsim.sweep_points"],
                    "distributed.scheduler.http.routes": [],
                    "distributed.logging": dict.fromkeys(_LOGGERS, "critical"),
                }
            )
        )
        # Ctrl-C on a terminal goes to every process; workers inherit that it is blocked
        with _ctrl_c_blocked():
            cluster = LocalCluster(
                n_workers=self._workers,
                threads_per_worker=1,
                processes=True,
                host="127.0.0.1",
                dashboard_address=None,
                scheduler_kwargs={"dashboard": False, "dashboard_address": "127.0.0.1:0"},
                silence_logs=logging.CRITICAL,
            )
            stack.callback(_close, cluster)
        client = Client(cluster, set_as_default=False)
        stack.callback(_close, client)
        return client

    def _remote(self, stack: ExitStack) -> Any:
        from distributed import Client

        try:
            client = Client(self._address, timeout=_CONNECT_SECONDS, set_as_default=False)
        except (OSError, ValueError, TimeoutError, ImportError) as error:
            reason = str(error).splitlines()[0] if str(error) else type(error).__name__
            raise UserError(
                f"--scheduler {self._address}: no Dask scheduler answers there: {reason}"
            ) from None
        stack.callback(_close, client)
        if not client.nthreads():
            print(f"hwsim: {self._address} has no workers yet, waiting for one", file=sys.stderr)
        return client


_LOST = "the connection to the Dask scheduler {} broke"


def _check_address(address: str) -> None:
    """Refuse what Dask could not even connect to; its client would leave a thread waiting."""
    from distributed.comm.addressing import parse_address, parse_host_port
    from distributed.comm.registry import backends

    try:
        scheme, location = parse_address(address)
        parse_host_port(location)
    except ValueError:
        scheme = ""
    if scheme not in backends:
        raise UserError(f"--scheduler must read tcp://HOST:PORT, but got {address!r}")


def _close(what: Any) -> None:
    """Close a client or cluster, whatever state it is in."""
    with suppress(Exception):
        what.close(timeout=5)


@contextmanager
def _ctrl_c_blocked() -> Iterator[None]:
    """Threads and processes that are started here never get Ctrl-C; this one gets it afterwards."""
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    resource_tracker.ensure_running()  # when multiprocessing starts it, it lets the signal through
    before = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@contextmanager
def _quiet() -> Iterator[None]:
    """Silence of Dask's loggers in this process; what goes wrong is said in our own words."""
    import distributed  # noqa: F401 - on import it sets the levels anew

    loggers = [logging.getLogger(name) for name in _LOGGERS]
    levels = [logger.level for logger in loggers]
    try:
        for logger in loggers:
            logger.setLevel(logging.CRITICAL + 1)
        yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
