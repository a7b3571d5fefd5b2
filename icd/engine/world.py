"""Who computes together: the devices of this process and, where there are several, the other processes.

In: one array a device. Out: what the whole batch gives. The loop, the stages and the papers see nothing else of it.

Several processes speak through MXNet's `dist_sync` store, which `DMLC_*` variables describe. Gradients have keys of their own,
whose values are never taken for weights, and every process updates its weights itself. (With the weights' keys, as Gluon's
trainer does with `update_on_kvstore=False`, its first pull of weights and first push of gradients race, and a process may go
on with a gradient as its weight.) Everything else goes through a few buffers, one a size: what is written to a buffer, pushed,
pulled and read from it is one chain in MXNet's engine, so that no sum is mistaken for the one before. Where `horovodrun` started the
processes, `icd.engine.horovod_store` takes the store's place.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import sys
import time
import weakref
from pathlib import Path

import numpy as np

from icd import compat
from icd.engine import horovod_store
from icd.engine.rollcall import Member
from icd.errors import InputError
from icd.files import write_atomic

DEFERENCE = 3.0  # seconds in which the leader may say first what is wrong for all
LARGEST = 1 << 20  # numbers sent at once


class Agreed:
    """Marks exceptions that all processes raise after the same step."""


class Stopped(Agreed, KeyboardInterrupt):
    """Some process was asked to stop, and all have saved."""


class World:
    """One process alone.

    Attributes
    ----------
    rank, size : int
        This process's number, from 0, and how many there are.
    """

    rank, size, _keys = 0, 1, 0

    def __init__(self):
        self._summing = weakref.WeakKeyDictionary()  # trainer: store and keys of its gradients

    def __reduce__(self):  # who gets it from another process is alone
        return World, ()

    @property
    def leads(self) -> bool:
        """Whether this is the process that writes logs, checkpoints and results."""
        return self.rank == 0

    def sum(self, arrays: list):
        """The sum of one NDArray a device, on the first one's device."""
        home = arrays[0].context
        return sum(array.as_in_context(home) for array in arrays)

    def concat(self, arrays: list):
        """The rows (axis 0) of one NDArray a device in the order of the batch, on the first one's device."""
        home = arrays[0].context
        return compat.mx.nd.concat(*(array.as_in_context(home) for array in arrays), dim=0)

    def agree(self, flag: bool) -> bool:
        """Whether any process says yes; waits for all."""
        return flag

    def barrier(self) -> None:
        """Wait until all processes are here."""

    def sum_gradients(self, trainer) -> None:
        """Replace the gradients of a trainer's parameters by their sums over all devices of all processes.

        The trainer has no store: its own would copy all parameters from the first device whenever a kept state is set, and
        lose what batch norm has counted on the others. The sums are there when they are first used.
        """
        trained = [parameter for parameter in trainer._params if parameter.grad_req != "null"]
        if self.size == 1 and len(trained[0].list_grad()) == 1:
            return
        if trainer not in self._summing:
            store = self._gradient_store()
            self._summing[trainer] = store, [self._init(p.list_grad()[0], store) for p in trained]
        store, keys = self._summing[trainer]
        for place, (key, parameter) in enumerate(zip(keys, trained)):
            store.push(key, parameter.list_grad(), priority=-place)
            store.pull(key, parameter.list_grad(), priority=-place)

    def _gradient_store(self):
        return compat.mx.kv.create("device")

    def _init(self, array, store) -> int:
        """A new key of a store for arrays like this one; all processes make the same keys in the same order, and wait."""
        self._keys += 1
        store.init(self._keys, compat.mx.nd.zeros(array.shape, dtype=array.dtype))
        return self._keys

    def spread(self, parameters) -> None:
        """Give all processes the values that parameters have in process 0."""

    def lead(self, function, *arguments) -> None:
        """Let the process that leads do something, which may take long; the others wait."""
        with self.busy():
            if self.leads:
                function(*arguments)
        self.barrier()

    def blind(self, folder) -> list:
        """The ranks of the processes that do not see what the leader writes into a folder."""
        return []

    def share(self, items: list) -> list:
        """This process's share of items that any process may do."""
        return items[self.rank :: self.size]

    @contextlib.contextmanager
    def training(self):
        """While this lasts, no process should let the others wait long."""
        yield

    @contextlib.contextmanager
    def busy(self):
        """While this lasts, this process may let the others wait."""
        yield

    def close(self, failed: str = "") -> None:
        """Leave: when all are done, or, where this process failed, at once."""


ALONE = World()


class StoreWorld(World):
    """Several processes that share a store.

    Parameters
    ----------
    store : mxnet.kvstore.KVStore or icd.engine.horovod_store.HorovodStore
        MXNet's of a type that begins with `dist_sync`.
    rank : int
    member : icd.engine.rollcall.Member or icd.engine.horovod_store.Unwatched
    """

    def __init__(self, store, rank: int, member):
        super().__init__()
        self.rank, self.size = rank, store.num_workers
        self._store, self._member, self._buffers = store, member, {}

    def sum(self, arrays):
        """See `World.sum`; with more than two processes the order of the addends, and the last bit, may differ from run to run."""
        own = super().sum(arrays)
        return self._total(own).as_in_context(own.context)

    def concat(self, arrays):
        """See `World.concat`; processes come in the order of their ranks, and may have different numbers of rows."""
        own = super().concat(arrays)
        counts = compat.mx.nd.zeros(self.size)
        counts[self.rank] = len(own)
        with self._member.being("waiting"):
            counts = self._total(counts).asnumpy().astype(int)
        end = int(counts[: self.rank + 1].sum())
        rows = compat.mx.nd.zeros((int(counts.sum()), *own.shape[1:]), own.context, dtype=own.dtype)
        rows[end - len(own) : end] = own
        return self._total(rows).as_in_context(own.context)

    def agree(self, flag):
        """See `World.agree`."""
        votes = self._total(compat.mx.nd.array([float(flag)]))
        with self._member.being("waiting"):
            return bool(votes.asscalar())

    def barrier(self):
        """See `World.barrier`."""
        with self._member.being("waiting"):
            self._store._barrier()

    def spread(self, parameters):
        """See `World.spread`."""
        for parameter in parameters:
            value = parameter.list_data()[0]
            parameter.set_data(self._total(value if self.leads else compat.mx.nd.zeros_like(value)))

    @contextlib.contextmanager
    def training(self):
        """See `World.training`."""
        self._member.begin()
        try:
            yield
        finally:
            self._member.rest()

    @contextlib.contextmanager
    def busy(self):
        """See `World.busy`."""
        with self._member.being("busy"):
            yield

    def close(self, failed=""):
        """See `World.close`."""
        if failed:
            if hasattr(self._store, "handle"):  # else MXNet's store waits for the others when it is freed
                ctypes_call(compat.mx.base._LIB.MXKVStoreSetBarrierBeforeExit, self._store.handle, 0)
        else:
            compat.mx.nd.waitall()
            self.barrier()
        self._member.close(failed)

    def blind(self, folder):
        """See `World.blind`."""
        name = self._total(compat.mx.nd.array([os.getpid() * self.leads], dtype="int32")).asscalar()
        mark = Path(folder) / f".shared-{name}"
        if self.leads:
            write_atomic(mark, b"")
        self.barrier()
        seen = self.concat([compat.mx.nd.array([float(mark.is_file())])]).asnumpy()
        if self.leads:
            mark.unlink()
        return np.flatnonzero(seen == 0).tolist()

    def _total(self, array):
        """The sum of an array of every process, on the CPU, in float32; int32 is exact for up to 256 processes."""
        mx = compat.mx
        if np.dtype(array.dtype) == np.int32:  # the servers add in float32 whatever they are sent
            high, low = np.divmod(array.asnumpy().astype(np.int64), 1 << 16)
            high, low = (
                self._total(mx.nd.array(np.stack([high, low]), dtype="float32")).asnumpy().astype(np.int64)
            )
            return mx.nd.array((high << 16) + low, dtype="int32")
        # Operators, not methods, which make views, of which oneDNN's layouts of weights allow no slices.
        flat, pieces = mx.nd.reshape(array.as_in_context(mx.cpu()), shape=(-1,)).astype("float32"), []
        for begin in range(0, len(flat), LARGEST):
            piece = mx.nd.slice_axis(flat, axis=0, begin=begin, end=min(begin + LARGEST, len(flat)))
            key, buffer = self._buffer(len(piece))
            buffer[: len(piece)] = piece
            if len(piece) < len(buffer):
                buffer[len(piece) :] = 0
            self._store.push(key, buffer)
            self._store.pull(key, buffer)
            pieces.append(buffer[: len(piece)].copy())
        return mx.nd.concat(*pieces, dim=0).reshape(array.shape).astype(array.dtype)

    def _buffer(self, length: int) -> tuple:
        size = 1 << (length - 1).bit_length()
        if size not in self._buffers:
            buffer = compat.mx.nd.zeros(size)
            self._buffers[size] = self._init(buffer, self._store), buffer
        return self._buffers[size]

    def _gradient_store(self):
        return self._store


def ctypes_call(function, *arguments) -> None:
    """Call a function of MXNet's library that Python's interface lacks."""
    compat.mx.base.check_call(function(*(ctypes.c_int(a) if isinstance(a, int) else a for a in arguments)))


def join() -> World:
    """The world of this process: alone, or with the others that `DMLC_ROLE=worker` and its companions speak of, or `horovodrun`'s.

    Raises
    ------
    InputError
        A variable is missing or wrong, two processes have one rank, or Horovod is not installed.
    """
    if os.environ.get("DMLC_ROLE") == "worker":
        world = _join_store()
    elif "HOROVOD_RANK" in os.environ:
        store = horovod_store.HorovodStore()
        world = StoreWorld(store, store.rank, horovod_store.Unwatched())
    else:
        return World()
    if not world.leads:
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115  (for the rest of the process)
    return world


def _join_store() -> StoreWorld:
    """The world that shares MXNet's store; `ICD_RANK` may give the rank, so that the first host has rank 0, else the store does."""
    check_environment(os.environ)
    wanted = os.environ.get("ICD_RANK")
    member = Member("worker", None if wanted is None else int(wanted))
    store = compat.mx.kv.create("dist_sync")
    rank = store.rank if wanted is None else int(wanted)
    member.name_rank(rank)
    world = StoreWorld(store, rank, member)
    taken = compat.mx.nd.zeros(world.size)
    taken[rank] = 1
    if world._total(taken).asnumpy().tolist() != [1.0] * world.size:
        raise InputError(
            "ICD_RANK", "another number, from 0 on, for every process", f"{rank} or its like twice"
        )
    return world


@contextlib.contextmanager
def joined():
    """The world of this process, which it leaves at the end: after the others, or at once where something failed."""
    world = join()
    try:
        yield world
    except BaseException as error:
        if isinstance(error, InputError) and not world.leads:
            time.sleep(DEFERENCE)
        world.close("" if isinstance(error, Agreed) else f"{type(error).__name__} {error}".rstrip())
        if horovod_store.ENDED in str(error):
            raise ConnectionError(
                "another process ended, and so does this one. Go on with --resume."
            ) from None
        raise
    world.close()


def check_environment(environment) -> None:
    """Raise `InputError` unless the variables of MXNet's store are there and make sense."""
    for name in ("DMLC_PS_ROOT_URI", "DMLC_PS_ROOT_PORT", "DMLC_NUM_WORKER", "DMLC_NUM_SERVER"):
        value = environment.get(name, "")
        if not value or (name != "DMLC_PS_ROOT_URI" and not value.isdigit()):
            expected = "the scheduler's host" if name.endswith("URI") else "a number"
            raise InputError(name, expected, repr(value), "See docs/cluster.md, or use `icd launch`.")
    rank, size = environment.get("ICD_RANK"), int(environment["DMLC_NUM_WORKER"])
    if rank is not None and not (rank.isdigit() and int(rank) < size):
        raise InputError("ICD_RANK", f"a number from 0 to {size - 1}", repr(rank))
