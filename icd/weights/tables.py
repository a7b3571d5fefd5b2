"""How the arrays of a checkpoint are written down: keys, shapes, our names, aliases, and what is left aside.

In: keys and shapes of a state dict. Out: the entries of a table, see `icd.weights.families`. A word in a shape stands for a
size that the file decides, the same wherever the word occurs.

Our names follow one rule, `gluon_name`: dots become underscores and batch norm's fields take Gluon's names. The prefix of a
backbone is dropped, so that one network loads its weights from every family.
"""

from __future__ import annotations

from dataclasses import dataclass

COUNTERS = (r"(.+\.)?num_batches_tracked", "counters of batch norm")


@dataclass(frozen=True)
class Entry:
    """One array: its key in the file, its shape, its name with us, further keys of the same array."""

    key: str
    shape: tuple
    name: str
    aliases: tuple = ()


@dataclass(frozen=True)
class Network:
    """The arrays of one network; `ignored` holds pairs of a pattern of keys and what they are."""

    title: str
    entries: tuple
    ignored: tuple = (COUNTERS,)


@dataclass(frozen=True)
class Family:
    """The checkpoints of one program.

    Attributes
    ----------
    title : str
        Whose files these are.
    networks : tuple of Network
        The networks that the program saves; a file is compared with all of them.
    format : {"torch", "mxnet", "caffe"}
        Of the program's files. Caffe's are only read.
    wrapper : str
        The key under which the program keeps its state dict; empty: the state dict is the file.
    counters : bool
        Whether the program's state dicts hold batch norm's counters, which are 0 where batch norm is frozen.
    renamed : tuple of str
        A pattern of keys and its replacement, where the file's keys hold a name of the data set.
    codebook : bool
        Whether `<checkpoint>_codebook.npy` may lie beside a checkpoint, an array (words, channels) that belongs to it.
    turned : str
        The key whose inputs are blue, green, red in the file and red, green, blue with us.
    """

    title: str
    networks: tuple
    format: str = "torch"
    wrapper: str = ""
    counters: bool = False
    renamed: tuple = ()
    turned: str = ""
    codebook: bool = False


def gluon_name(key: str, normalises: bool) -> str:
    """Our name for a key of a PyTorch state dict.

    Parameters
    ----------
    key : str
        For example "b4_5.bn_branch2b1.weight".
    normalises : bool
        Whether its layer is a batch or group norm, whose weight and bias are gamma and beta with Gluon.
    """
    layer, _, field = key.rpartition(".")
    if normalises:
        field = {"weight": "gamma", "bias": "beta"}.get(field, field)
    return "_".join([*layer.split("."), field])


def torch_entries(shapes: dict, prefix: str = "", aliases: tuple = ()) -> tuple:
    """Entries of a PyTorch state dict.

    Parameters
    ----------
    shapes : dict
        Key to shape.
    prefix : str
        Left out of our names.
    aliases : tuple of pairs
        A beginning of keys and the beginning that the same array also goes by.
    """
    layers = {
        key.rpartition(".")[0] for key, shape in shapes.items() if key.endswith(".weight") and len(shape) == 1
    }
    entries = []
    for key, shape in shapes.items():
        own = key[len(prefix) :] if key.startswith(prefix) else key
        name = gluon_name(own, key.rpartition(".")[0] in layers)
        others = tuple(new + key[len(old) :] for old, new in aliases if key.startswith(old))
        entries.append(Entry(key, shape, name, others))
    return tuple(entries)
