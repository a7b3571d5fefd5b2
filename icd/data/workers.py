"""One function over many items. In: a function and items. Out: its results in the order of the items,
computed inline or in processes.

The processes come from a fork server, which never imports the caller's modules, because MXNet does not
survive a fork. The results do not depend on their number. They ignore Ctrl-C, which is the caller's business,
and end when the caller dies.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import sys
import threading
from collections import deque
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import connection

import cv2

from icd.errors import InputError

_function = None  # in a worker process: the function it was started with


class Workers:
    """Processes that share one function.

    Parameters
    ----------
    function : callable
        Takes one item; function, items and results must be picklable when `count` is not 0.
    count : int
        Number of processes; 0 calls the function in this process.
    """

    def __init__(self, function, count: int):
        self._call, self._count, self._pool = function, count, None

    def map(self, items, ahead: int = 0):
        """Yield `function(item)` for every item, in order.

        Parameters
        ----------
        ahead : int
            How many items, besides two a process, are begun before they are asked for.

        Raises
        ------
        Exception
            What the function raised, in the place of its item.
        InputError
            A worker process was killed from outside.
        """
        if self._count == 0:
            yield from map(self._call, items)
            return
        pool, pending = self._start(), deque()
        try:
            for item in items:
                with _main_module_hidden():
                    pending.append(pool.submit(_call_function, item))
                if len(pending) > 2 * self._count + ahead:
                    yield pending.popleft().result()
            while pending:
                yield pending.popleft().result()
        except BrokenProcessPool:
            self.close()  # waits: Python 3.12 can hang at its end if a broken pool is dropped too soon
            found = "one that was killed, perhaps for lack of memory"
            raise InputError(
                "worker processes", "all of them to finish", found, "Try fewer --workers."
            ) from None
        finally:
            for future in pending:
                future.cancel()

    def close(self) -> None:
        """End the processes; a later `map` starts new ones."""
        if self._pool is not None:
            self._pool.shutdown()
            self._pool = None

    def _start(self) -> ProcessPoolExecutor:
        if self._pool is None:
            context = multiprocessing.get_context("forkserver")
            context.set_forkserver_preload([__name__])
            self._pool = ProcessPoolExecutor(self._count, context, _start_worker, (self._call,))
        return self._pool


def open_workers(function, workers, group: int = 1):
    """What computes a function for many items: processes of this machine, or those of a cluster.

    Parameters
    ----------
    workers : int or icd.stages.cluster.Cluster
        A number of processes; or what has a `pool`.
    group : int
        Items that a cluster sends at once.

    Returns
    -------
    Workers
        Or what has its `map` and `close`.
    """
    return workers.pool(function, group) if hasattr(workers, "pool") else Workers(function, workers)


@contextlib.contextmanager
def _main_module_hidden():
    """A process that is started now does not import the caller's main module, maybe a script without guard."""
    main = sys.modules["__main__"]
    saved = {name: vars(main)[name] for name in ("__file__", "__spec__") if name in vars(main)}
    main.__spec__ = None
    vars(main).pop("__file__", None)
    try:
        yield
    finally:
        vars(main).update(saved)


def _start_worker(function) -> None:
    global _function
    _function = function
    cv2.setNumThreads(0)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_caller, daemon=True).start()


def _end_with_caller() -> None:
    connection.wait([multiprocessing.parent_process().sentinel])
    os._exit(1)


def _call_function(item):
    return _function(item)
