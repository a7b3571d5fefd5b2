"""Stages and checks that go image by image, on the machines of a Dask cluster. In: a function and items. Out: its results, in order.

`--cluster local` starts workers on this machine, `--cluster tcp://HOST:8786` uses a scheduler with workers of yours. What `Workers`
does with processes of this machine a `Cluster` does with them, so that nothing else knows the difference. Folders are shared.
Dask carries a function once to every worker, which keeps it, with the network that it has loaded. A worker that dies costs what it
was doing, and another one does that again. Dask is imported here alone.
"""

from __future__ import annotations

import contextlib
import io
import itertools
import os
import socket
import sys
import tempfile
import time
import uuid
from collections import deque
from functools import lru_cache
from pathlib import Path

import icd
from icd.errors import InputError, printable

LOCAL = "local"
ATTEMPTS = 3  # how often a worker may die over the same images
ARRIVAL = 60  # seconds for the first worker to come
WINDOW = 8  # tasks a worker thread that are begun before their results are asked for
TASKS = 32  # tasks a worker thread into which a stage is divided, unless that makes them larger than
MOST_IMAGES = 64


class Cluster:
    """The workers of a Dask cluster.

    Parameters
    ----------
    address : str
        "local", or the address of a scheduler.
    workers : int
        How many processes a local cluster has, at least one.
    folder : str or os.PathLike
        A folder that all must share.
    places : iterable of str or os.PathLike
        What every worker must see besides.

    Raises
    ------
    InputError
        Dask is not installed, nobody answers, a worker has another version of this package, or does not see the folders.
    """

    def __init__(self, address: str, workers: int, folder, places=()):
        distributed = _import_dask()
        self._folder, self._local, self._address = Path(folder).absolute(), None, address
        try:
            if address == LOCAL:
                self._local = distributed.LocalCluster(
                    n_workers=max(1, workers),
                    threads_per_worker=1,
                    dashboard_address="127.0.0.1:0",
                    silence_logs="ERROR",
                )
            self._client = distributed.Client(self._local or address, timeout=ARRIVAL, set_as_default=False)
        except (OSError, ValueError, TypeError) as error:
            found = printable(f"{type(error).__name__}: {error}")
            raise InputError(
                f"--cluster {address}",
                "local, or a scheduler such as tcp://host:8786",
                found,
                "See docs/cluster.md.",
            ) from None
        try:
            self._check([Path(place).absolute() for place in places if place is not None])
        except BaseException:
            self.close()
            raise

    def _check(self, places) -> None:
        """See that there are workers, that they have this package, and that they see our folders."""
        try:
            self._client.wait_for_workers(1, timeout=ARRIVAL)
        except Exception as error:  # Dask's TimeoutError has changed its place
            remedy = f"Start some: dask worker {self._address} --nthreads 1"
            raise InputError(f"--cluster {self._address}", "workers", type(error).__name__, remedy) from None
        self._folder.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=self._folder, prefix=".shared-") as mark:
            wanted = [mark.name, os.getcwd(), *map(str, places)]
            try:
                reports = self._client.run(_report, wanted)
            except ModuleNotFoundError as error:
                remedy = "Install it where the workers run."
                raise InputError(
                    f"--cluster {self._address}", "workers with the package icd", str(error), remedy
                ) from None
        for worker, (host, version, missing) in sorted(reports.items()):
            where = f"worker {worker} on host {host}"
            if version != icd.__version__:
                raise InputError(
                    where, f"icd {icd.__version__}", f"icd {version}", "Install the same version everywhere."
                )
            if missing:
                remedy = "All machines must mount the folders under the same name; name a shared one."
                place = self._folder if missing[0] == mark.name else missing[0]
                raise InputError(
                    where, f"the folder {place}, and what is written there", "nothing there", remedy
                )

    @property
    def threads(self) -> int:
        """How many tasks run at once."""
        return max(1, sum(self._client.nthreads().values()))

    def pool(self, function, group: int = 1) -> ClusterPool:
        """What `icd.data.workers.Workers` is for processes of this machine; a task does `group` items."""
        return ClusterPool(self, function, group)

    def work(self, stage, ids: list) -> None:
        """Let the workers make a stage's files of these ids; show progress and rate."""
        from tqdm import tqdm

        size = min(MOST_IMAGES, -(-len(ids) // (TASKS * self.threads)))
        size = -(-size // stage.together) * stage.together
        chunks, begun = [ids[place : place + size] for place in range(0, len(ids), size)], time.monotonic()
        pool = self.pool(StageWork(stage))
        try:
            with tqdm(total=len(ids), unit="image", desc=stage.name, dynamic_ncols=True, disable=None) as bar:
                for done in pool.map(chunks):
                    bar.update(done)
        finally:
            pool.close()
        seconds = time.monotonic() - begun
        print(f"{stage.name}: {len(ids)} images in {seconds:.1f} s, {len(ids) / seconds:.2f} a second, "
              f"by {self.threads} worker threads of {self._address}")  # fmt: skip

    def carry(self, function):
        """A future of a function, for `submit`.

        It is a task's result, and not data that only some worker has, so that Dask makes it again when that worker dies. It
        travels as Dask packs it: the scheduler need not import what it names, and a worker that hands it on hands on no network.
        """
        from distributed.protocol import serialize_bytes

        packed = uuid.uuid4().hex, serialize_bytes(function)
        return self._client.submit(_hold, packed, pure=False)

    def submit(self, carried, items: list):
        """A future of the results of some items, by a function that `carry` has sent."""
        return self._client.submit(_apply, carried, os.getcwd(), items, pure=False, retries=0)

    def close(self) -> None:
        """Leave the cluster, and end a local one."""
        with contextlib.suppress(Exception):  # who is gone need not be told
            self._client.close()
        if self._local is not None:
            with contextlib.suppress(Exception):
                self._local.close()


class ClusterPool:
    """One function on the workers of a cluster; see `icd.data.workers.Workers`."""

    def __init__(self, cluster: Cluster, function, group: int):
        self._cluster, self._group = cluster, group
        self._carried = cluster.carry(function)

    def map(self, items, ahead: int = 0):
        """Yield `function(item)` for every item, in order; items are taken as they are needed.

        Raises
        ------
        Exception
            What the function raised.
        InputError
            Workers died over the same items again and again, or the scheduler is gone.
        """
        items, pending = iter(items), deque()
        try:
            for group in iter(lambda: list(itertools.islice(items, self._group)), []):
                pending.append((group, self._cluster.submit(self._carried, group)))
                if len(pending) > WINDOW * self._cluster.threads + ahead // self._group:
                    yield from self._result(*pending.popleft())
            while pending:
                yield from self._result(*pending.popleft())
        finally:
            for _, future in pending:
                future.cancel()

    def _result(self, group, future):
        from distributed import CancelledError, KilledWorker
        from distributed.comm import CommClosedError

        try:
            return future.result()
        except KilledWorker:
            found = f"one that ended {ATTEMPTS + 1} times over {printable(group)}"
            remedy = (
                "Perhaps for lack of memory: fewer workers on a machine need less. What is done stays done."
            )
        except (CancelledError, CommClosedError) as error:
            found, remedy = (
                f"{type(error).__name__}: the scheduler is gone",
                "The same call goes on from here.",
            )
        raise InputError("workers of the cluster", "all of them to finish", found, remedy)

    def close(self) -> None:
        """Let the workers forget the function."""
        self._carried.release()


class StageWork:
    """Makes a stage's files of some ids; in a worker it keeps the network that the stage loads."""

    def __init__(self, stage):
        self._stage = stage

    def __call__(self, ids: list) -> int:
        quiet = contextlib.redirect_stderr(io.StringIO()) if sys.stderr.isatty() else contextlib.nullcontext()
        with quiet:  # the bars are the client's
            self._stage.work(ids)
        return len(ids)


@contextlib.contextmanager
def opened(address, workers: int, folder, places=()):
    """What to give as `workers`: a cluster, where there is an address, else the number of processes."""
    if address is None:
        yield workers
        return
    cluster = Cluster(address, workers, folder, places)
    try:
        yield cluster
    finally:
        cluster.close()


def _import_dask():
    try:
        import dask
        import distributed
    except ImportError as error:
        remedy = "Run: pip install -e '.[cluster]'"
        raise InputError("--cluster", "Dask, which spreads the work", str(error), remedy) from None
    dask.config.set({"distributed.scheduler.allowed-failures": ATTEMPTS})
    return distributed


# What runs in the workers.


def _report(paths: list) -> tuple:
    """This host, its version of the package, and those of some paths that are not there."""
    return socket.gethostname(), icd.__version__, [path for path in paths if not os.path.exists(path)]


def _hold(packed: tuple) -> tuple:
    """What is carried."""
    return packed


def _apply(packed: tuple, folder: str, items: list) -> list:
    """Results of some items, by a function that was carried here."""
    os.chdir(folder)  # paths may be relative to where the user is
    function = _unpacked(*packed)
    return [function(item) for item in items]


@lru_cache(maxsize=1)
def _unpacked(name: str, packed: bytes):
    """The function, and with it what it loads; under another name it is another one, for files may have changed."""
    from distributed.protocol import deserialize_bytes

    return deserialize_bytes(packed)
