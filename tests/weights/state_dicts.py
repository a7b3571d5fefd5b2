"""State dicts made from the tables, and files as torch wrote them in 2017."""

from __future__ import annotations

import io
import pickle
import struct
import sys
import types
import zlib
from collections import OrderedDict

import numpy as np

from icd.weights.families import FAMILIES

MAGIC, PROTOCOL = 0x1950A86A20F9469CFC6C, 1001
SIZES = {"classes": 20, "words": 256}


def network_of(family: str, title: str):
    """The network of a family whose title begins so."""
    (network,) = (network for network in FAMILIES[family].networks if network.title.startswith(title))
    return network


def shape_of(entry, sizes=SIZES) -> tuple:
    """The shape with numbers for the words."""
    return tuple(sizes.get(n, n) for n in entry.shape)


def make_state(network, value, sizes=SIZES, aliases=True, counters=False) -> dict:
    """Every key of a network to `value(key, shape)`; an alias is the same array."""
    state = {}
    for entry in network.entries:
        array = value(entry.key, shape_of(entry, sizes))
        for key in (entry.key, *(entry.aliases if aliases else ())):
            state[key] = array
            if counters and key.endswith("running_var"):
                state[key.replace("running_var", "num_batches_tracked")] = np.zeros((), np.int64)
    return state


def constant(key: str, shape) -> np.ndarray:
    """One number everywhere, another for every key; takes no memory."""
    return np.broadcast_to(np.float32(zlib.crc32(key.encode()) % 1000 / 1000), shape)


class FakeTorch:
    """Modules by which pickle writes the names that torch of 2017 wrote."""

    def __init__(self, monkeypatch):
        torch, utils, nn, parameter = (
            types.ModuleType(name) for name in ("torch", "torch._utils", "torch.nn", "torch.nn.parameter")
        )
        for module in (torch, utils, nn, parameter):
            monkeypatch.setitem(sys.modules, module.__name__, module)
        self.storage_type = torch.FloatStorage = type("FloatStorage", (), {"__module__": "torch"})
        self.parameter = parameter.Parameter = type(
            "Parameter", (), {"__module__": "torch.nn.parameter", "__getstate__": lambda self: self.state}
        )

        def _rebuild_tensor(*_):
            return None

        _rebuild_tensor.__module__, _rebuild_tensor.__qualname__ = "torch._utils", "_rebuild_tensor"
        self.rebuild = utils._rebuild_tensor = _rebuild_tensor


class Reduced:
    """What pickle writes as a call of `parts[0]` with `parts[1]`, and a state `parts[2]`."""

    def __init__(self, *parts):
        self.parts = parts

    def __reduce__(self):
        return self.parts


def file_of_2017(monkeypatch, state: dict) -> bytes:
    """What torch 0.1 to 0.3 wrote: `_rebuild_tensor`, and Parameters by one of two ways.

    `state` maps a key to one of "tensor", "before 0.2", "before 0.4" and the array.
    """
    fake = FakeTorch(monkeypatch)
    storages = {}

    class Pickler(pickle.Pickler):
        def persistent_id(self, value):
            if not isinstance(value, np.ndarray):
                return None
            key = str(94000000 + len(storages))
            storages[key] = value
            return ("storage", fake.storage_type, key, "cuda:0", value.size, None)

    def tensor(array):
        strides = tuple(step // 4 for step in array.strides)
        return Reduced(fake.rebuild, (array.reshape(-1), 0, array.shape, strides))

    def parameter(array):
        value = fake.parameter()
        value.state = (tensor(array), None, OrderedDict(), True, False)
        return value

    ways = {
        "tensor": tensor,
        "before 0.2": parameter,
        "before 0.4": lambda a: Reduced(fake.parameter, (tensor(a),), (True, False, OrderedDict())),
    }
    content = OrderedDict((key, ways[way](array)) for key, (way, array) in state.items())
    buffer = io.BytesIO()
    for head in (MAGIC, PROTOCOL, {"protocol_version": PROTOCOL, "little_endian": True, "type_sizes": {}}):
        pickle.dump(head, buffer, 2)
    Pickler(buffer, 2).dump(content)
    pickle.dump(sorted(storages), buffer, 2)
    for key in sorted(storages):
        buffer.write(struct.pack("<q", storages[key].size) + storages[key].astype("<f4").tobytes())
    return buffer.getvalue()
