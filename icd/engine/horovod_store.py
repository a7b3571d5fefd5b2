"""Horovod in the place of MXNet's distributed store, for processes that `horovodrun` has started.

In: arrays. Out: their sums over all processes. It has of MXNet's store what `icd.engine.world.StoreWorld` asks for, so that training
knows no difference. Horovod watches its processes itself: one that dies ends the others (docs/cluster.md: and what it does not see).
"""

from __future__ import annotations

import contextlib

from icd import compat
from icd.errors import InputError

ENDED = "Horovod has been shut down"  # what waiting for a sum raises where another process has ended


class HorovodStore:
    """Sums over the processes of Horovod.

    Attributes
    ----------
    rank, num_workers : int

    Raises
    ------
    InputError
        Horovod is not installed, or was built without MXNet.
    """

    def __init__(self):
        self._horovod = _import_horovod()
        self._horovod.init()
        self.rank, self.num_workers = self._horovod.rank(), self._horovod.size()
        self._sums = {}

    def init(self, key: int, array) -> None:
        """Nothing: all processes use the same keys in the same order."""

    def push(self, key: int, arrays, priority: int = 0) -> None:
        """Begin to add arrays, one a device or a single one, to those of the other processes; a single one on the CPU in place."""
        arrays = arrays if isinstance(arrays, list) else [arrays]
        home = compat.mx.cpu()
        total = arrays[0].as_in_context(home)
        if len(arrays) > 1:
            total = sum(array.as_in_context(home) for array in arrays)
        name, add = f"icd.{key}", self._horovod.Sum
        self._sums[key] = self._horovod.allreduce_(total, op=add, name=name, priority=priority)

    def pull(self, key: int, arrays, priority: int = 0) -> None:
        """Write the sum into arrays, once it is there."""
        total = self._sums.pop(key)
        for array in arrays if isinstance(arrays, list) else [arrays]:
            if array is not total:
                total.copyto(array)

    def _barrier(self) -> None:
        """Wait until all processes are here."""
        mark = compat.mx.nd.zeros(1)
        self._horovod.allreduce_(mark, op=self._horovod.Sum, name="icd.barrier").wait_to_read()


class Unwatched:
    """What says nothing to a roll call, because there is none; see `icd.engine.rollcall.Member`."""

    @contextlib.contextmanager
    def being(self, state: str):
        """Nothing."""
        yield

    def begin(self) -> None:
        """Nothing."""

    def rest(self) -> None:
        """Nothing."""

    def close(self, failed: str = "") -> None:
        """Nothing."""


def _import_horovod():
    compat.mx  # noqa: B018  (Horovod imports MXNet, which needs what this puts in place)
    try:
        from horovod import mxnet
    except ImportError as error:
        remedy = (
            "Run: bash examples/cluster/build_horovod.sh; or use `icd launch` in the place of horovodrun."
        )
        raise InputError("HOROVOD_RANK", "Horovod, built with MXNet", str(error), remedy) from None
    return mxnet
