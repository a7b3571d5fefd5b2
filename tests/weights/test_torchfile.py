"""Files of torch.save are read without torch, nothing that they name is run, and torch reads what we write."""

from __future__ import annotations

import io
import os
import pickle
import resource
import struct
import subprocess
import sys
import zipfile

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from state_dicts import MAGIC, PROTOCOL, Reduced, file_of_2017

from icd.errors import InputError
from icd.foreign.torchfile import read_torch, write_torch

FORMATS = ("zip", "legacy")


@pytest.fixture
def fixtures(golden):
    """Written by torch 2.13: a checkpoint with a state dict of every kind of tensor, in both formats."""
    return golden / "torch"


@pytest.mark.parametrize("name", FORMATS)
def test_both_formats_are_read(fixtures, name):
    checkpoint = read_torch(fixtures / f"{name}.pth")
    expected = np.load(fixtures / "expected.npz")
    assert sorted(checkpoint["model"]) == sorted(expected.files)
    for key, array in checkpoint["model"].items():
        np.testing.assert_array_equal(array, expected[key])
        assert array.dtype == expected[key].dtype and array.shape == expected[key].shape
    assert (checkpoint["epoch"], checkpoint["miou"], checkpoint["names"]) == (3, 0.5, ["a", None, (1, 2.5)])
    assert checkpoint["optimizer"]["param_groups"] == [{"lr": 0.1, "params": [0]}]


@pytest.mark.parametrize("name", FORMATS)
def test_tensors_look_into_the_file(fixtures, name):
    """Nothing is copied until it is used, and what shares memory with torch shares it here."""
    state = read_torch(fixtures / f"{name}.pth")["model"]
    assert not any(array.flags.owndata for array in state.values() if array.size)
    assert np.shares_memory(state["module.conv.weight"], state["module.alias.weight"])
    with pytest.raises(ValueError, match="read-only"):
        state["module.conv.weight"][0] = 0


def _old_state():
    random = np.random.RandomState(0)
    ways = ("tensor", "before 0.2", "before 0.4")
    return {f"features.{n}.weight": (way, random.randn(n + 2, 3).astype("f4")) for n, way in enumerate(ways)}


def _write_old(monkeypatch, path):
    with monkeypatch.context() as patch:
        path.write_bytes(file_of_2017(patch, _old_state()))


def test_files_of_2017_are_read(monkeypatch, tmp_path):
    """torchvision's vgg16-397923af.pth is of that time: the names of its pickle are other ones."""
    _write_old(monkeypatch, tmp_path / "old.pth")
    found = read_torch(tmp_path / "old.pth")
    for key, (_, array) in _old_state().items():
        np.testing.assert_array_equal(found[key], array)


def test_torch_agrees_on_files_of_2017(monkeypatch, tmp_path):
    torch = pytest.importorskip("torch")
    _write_old(monkeypatch, tmp_path / "old.pth")
    loaded = torch.load(tmp_path / "old.pth", weights_only=True, map_location="cpu")
    for key, (_, array) in _old_state().items():
        np.testing.assert_array_equal(loaded[key].detach().numpy(), array)


CONTENT = {
    "model": {
        "a.weight": np.arange(24, dtype=np.float32).reshape(2, 3, 4)[:, ::-1],
        "a.num_batches_tracked": np.array(3),
        "empty": np.zeros((0, 3), np.float16),
        "flag": np.array([True, False]),
        "big endian": np.arange(3, dtype=">f8"),
        "ä": np.ones(1, np.uint8),
    },
    "epoch": 7,
}


def test_what_we_write_comes_back(tmp_path):
    write_torch(tmp_path / "a.pth", CONTENT)
    found = read_torch(tmp_path / "a.pth")
    assert found["epoch"] == 7 and list(found["model"]) == list(CONTENT["model"])
    for key, array in CONTENT["model"].items():
        np.testing.assert_array_equal(found["model"][key], array)
        assert found["model"][key].dtype == array.dtype.newbyteorder("<")
        assert found["model"][key].shape == array.shape
    write_torch(tmp_path / "b.pth", CONTENT)
    assert (tmp_path / "a.pth").read_bytes() == (tmp_path / "b.pth").read_bytes()


def test_a_shared_array_is_stored_once(tmp_path):
    array = np.ones(100_000, np.float32)
    write_torch(tmp_path / "a.pth", {"a": array, "b": array})
    assert (tmp_path / "a.pth").stat().st_size < 410_000
    found = read_torch(tmp_path / "a.pth")
    assert np.shares_memory(found["a"], found["b"])


def test_types_unknown_to_torch_are_refused(tmp_path):
    with pytest.raises(TypeError, match="uint16"):
        write_torch(tmp_path / "a.pth", {"a": np.ones(1, np.uint16)})
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("mapped", [False, True])
def test_torch_reads_what_we_write(tmp_path, mapped):
    torch = pytest.importorskip("torch")
    write_torch(tmp_path / "a.pth", CONTENT)
    loaded = torch.load(tmp_path / "a.pth", weights_only=True, mmap=mapped)
    assert loaded["epoch"] == 7
    for key, array in CONTENT["model"].items():
        np.testing.assert_array_equal(loaded["model"][key].numpy(), array)


def test_torch_loads_it_into_a_network(tmp_path):
    torch = pytest.importorskip("torch")
    network = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.BatchNorm2d(4))
    state = {key: tensor.numpy() for key, tensor in network.state_dict().items()}
    del state["1.num_batches_tracked"]  # torch takes it as 0 where a state dict of older torch lacks it
    write_torch(tmp_path / "a.pth", state)
    network.load_state_dict(torch.load(tmp_path / "a.pth", weights_only=True), strict=True)


@settings(max_examples=50)
@given(
    st.dictionaries(
        st.text(max_size=5),
        arrays.arrays(np.float32, arrays.array_shapes(min_dims=0, min_side=0)),
        max_size=4,
    )
)
def test_any_state_dict_comes_back(tmp_path_factory, state):
    path = tmp_path_factory.mktemp("any") / "a.pth"
    write_torch(path, state)
    found = read_torch(path)
    assert list(found) == list(state)
    for key in state:
        np.testing.assert_array_equal(found[key], state[key])


# Faults


def _zip(pickled: bytes, **records) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("archive/data.pkl", pickled)
        for name, content in records.items():
            archive.writestr(f"archive/data/{name}", content)
    return buffer.getvalue()


def _legacy(pickled: bytes) -> bytes:
    heads = (MAGIC, PROTOCOL, {"little_endian": True})
    return b"".join(pickle.dumps(head, 2) for head in heads) + pickled + pickle.dumps([], 2)


@pytest.mark.parametrize("wrap", [_zip, _legacy])
def test_nothing_is_run(tmp_path, wrap):
    path, trace = tmp_path / "a.pth", tmp_path / "trace"
    for attack in (
        (os.system, (f"touch {trace}",)),
        (eval, (f"open({str(trace)!r}, 'w')",)),
        (io.open, ("x",)),
    ):
        path.write_bytes(wrap(pickle.dumps({"state_dict": Reduced(*attack)}, 2)))
        with pytest.raises(InputError, match=r"a\.pth.*the pickle asks for .*save its state_dict"):
            read_torch(path)
    assert not trace.exists()


def test_attributes_of_our_own_objects_cannot_be_set(tmp_path):
    """A state for a tensor or its storage would let a file point anywhere."""
    tensor = b"\x80\x02ctorch._utils\n_rebuild_tensor_v2\n(((X\x07\x00\x00\x00storagectorch\nFloatStorage\nX\x01\x00\x00\x000X\x03\x00\x00\x00cpuK\x01tQ"
    storage_state = (
        tensor.replace(b"(((X", b"((X") + b"}X\x08\x00\x00\x00elementsNsbK\x00(K\x01t(K\x01t\x89NtR."
    )
    tensor_state = (
        tensor.replace(b"(((X", b"((X")
        + b"K\x00(K\x01t(K\x01t\x89NtR}X\x06\x00\x00\x00offsetJ\x00\x00\x00\x80sb."
    )
    for content in (storage_state, tensor_state):
        (tmp_path / "a.pth").write_bytes(_zip(content, **{"0": bytes(4)}))
        with pytest.raises(InputError, match="a state for"):
            read_torch(tmp_path / "a.pth")


def _tensor_file(offset, size, stride, count=4, stored=None) -> bytes:
    """A zip file of one tensor over a storage that claims `count` floats."""
    one = pickle.dumps
    parts = [one(part, 2)[2:-1] for part in ("storage", "0", "cpu", count, offset, size, stride)]
    body = b"\x80\x02ctorch._utils\n_rebuild_tensor_v2\n((" + parts[0] + b"ctorch\nFloatStorage\n"
    body += b"".join(parts[1:4]) + b"tQ" + b"".join(parts[4:]) + b"\x89NtR."
    return _zip(body, **{"0": bytes(4 * count if stored is None else stored)})


def test_tensors_stay_in_their_storage(tmp_path):
    path = tmp_path / "a.pth"
    path.write_bytes(_tensor_file(1, (3,), (1,)))
    assert read_torch(path).shape == (3,)
    for claim in (
        (2, (3,), (1,)), (0, (2, 3), (3, 1)), (-1, (1,), (1,)), (0, (2,), (-1,)), (0, (2,), (1, 1)), (0, (2.5,), (1,)),
        (0, (10**6, 10**6), (0, 0)), (0, (1 << 62,), (1,)), (0, (1,), (1 << 70,)),
    ):  # fmt: skip
        path.write_bytes(_tensor_file(*claim))
        with pytest.raises(InputError, match=r"a\.pth"):
            read_torch(path)


@pytest.mark.parametrize("count", [5, 10**12, 1 << 62, -1, 2.5])
def test_a_claimed_size_takes_no_memory(tmp_path, count):
    """A storage that claims more than the file holds is refused before anything of that size is made."""
    path = tmp_path / "a.pth"
    path.write_bytes(_tensor_file(0, (1,), (1,), count, stored=16))
    with pytest.raises(InputError, match=r"a\.pth"):
        read_torch(path)


LIMITED = """
import resource, sys
resource.setrlimit(resource.RLIMIT_AS, (2 << 30, 2 << 30))
from icd.errors import InputError
from icd.foreign.torchfile import read_torch
try:
    read_torch(sys.argv[1])
except InputError as error:
    print("refused:", error)
"""


@pytest.mark.parametrize("bomb", ["deflated", "billion laughs", "long bytes", "long table"])
def test_bombs_are_refused_in_little_memory(tmp_path, bomb):
    path = tmp_path / "a.pth"
    if bomb == "deflated":
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive, archive.open(
            "a/data.pkl", "w"
        ) as file:
            for _ in range(300):
                file.write(bytes(1 << 20))
    elif bomb == "long table":
        path.write_bytes(_legacy(b"\x80\x02}r" + struct.pack("<I", 2_000_000_000)))
    elif bomb == "billion laughs":
        value = [1.5]
        for _ in range(40):
            value = [value] * 10
        path.write_bytes(_zip(pickle.dumps({"a": value, "b": Reduced(os.system, ("true",))}, 2)))
    else:
        path.write_bytes(_legacy(b"\x80\x04\x8e" + struct.pack("<Q", 1 << 40)))
    result = subprocess.run([sys.executable, "-c", LIMITED, path], capture_output=True, text=True, timeout=60)
    assert result.stdout.startswith("refused:"), result.stderr
    assert bomb != "long table" or "MemoryError" not in result.stdout
    assert resource.getrlimit(resource.RLIMIT_AS)[0] == resource.RLIM_INFINITY


def test_a_repeated_part_is_finished_once(tmp_path):
    value = [1.5]
    for _ in range(5):
        value = [value] * 10
    (tmp_path / "a.pth").write_bytes(_zip(pickle.dumps({"a": value}, 2)))
    found = read_torch(tmp_path / "a.pth")["a"]
    assert found[0] is found[9]


def test_what_nobody_could_walk_through_is_refused(tmp_path):
    value = [1.5]
    for _ in range(40):
        value = [value] * 10
    (tmp_path / "a.pth").write_bytes(_zip(pickle.dumps({"a": value}, 2)))
    with pytest.raises(InputError, match="one list under many names"):
        read_torch(tmp_path / "a.pth")


@pytest.mark.parametrize("name", FORMATS)
def test_truncated_files_are_refused(fixtures, tmp_path, name):
    content = (fixtures / f"{name}.pth").read_bytes()
    path = tmp_path / "a.pth"
    # The last part of the older format is a tensor without numbers behind a count.
    for end in (0, 1, 4, 30, 200, 700, len(content) // 2, len(content) - 30, len(content) - 1):
        path.write_bytes(content[:end])
        with pytest.raises(InputError, match=r"a\.pth"):
            read_torch(path)


def test_a_flipped_bit_in_a_record_is_noticed(fixtures, tmp_path):
    content = bytearray((fixtures / "zip.pth").read_bytes())
    with zipfile.ZipFile(fixtures / "zip.pth") as archive:
        info = archive.getinfo("zip/data/0")
    content[info.header_offset + 30 + len(info.filename) + 100] ^= 1
    (tmp_path / "a.pth").write_bytes(content)
    with pytest.raises(InputError, match="data/0 is truncated or damaged"):
        read_torch(tmp_path / "a.pth")


@pytest.mark.parametrize(
    "content", [b"<!DOCTYPE html>", b"version https://git-lfs", b"\x12\x01", b"PK\x03\x04", b"\x80\x04."]
)
def test_other_files_are_refused(tmp_path, content):
    (tmp_path / "a.pth").write_bytes(content)
    with pytest.raises(InputError, match=r"a\.pth: expected a checkpoint of torch\.save"):
        read_torch(tmp_path / "a.pth")
    with pytest.raises(InputError, match="nothing there"):
        read_torch(tmp_path / "b.pth")


@pytest.mark.parametrize("name", FORMATS)
@settings(max_examples=200)
@given(data=st.data())
def test_damage_anywhere_gives_an_error_or_values(tmp_path_factory, golden, name, data):
    content = bytearray((golden / "torch" / f"{name}.pth").read_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    path = tmp_path_factory.mktemp("damage") / "a.pth"
    path.write_bytes(bytes(content))
    try:
        read_torch(path)
    except InputError:
        return


def _tensor(key, count, size, stride, kind="FloatStorage"):
    """The opcodes of a tensor."""
    plain = [pickle.dumps(part, 2)[2:-1] for part in ("storage", key, "cpu", count, 0, size, stride)]
    storage = b"(" + plain[0] + b"ctorch\n" + kind.encode() + b"\n" + b"".join(plain[1:4]) + b"tQ"
    return (
        b"ctorch._utils\n_rebuild_tensor_v2\n("
        + storage
        + b"".join(plain[4:])
        + b"\x89ccollections\nOrderedDict\n)RtR"
    )


def _called(name, *arguments):
    """The opcodes of a call."""
    module, _, function = name.rpartition(".")
    parts = b"".join(part if isinstance(part, bytes) else pickle.dumps(part, 2)[2:-1] for part in arguments)
    return f"c{module}\n{function}\n(".encode() + parts + b"tR"


WEIGHTS = np.arange(6, dtype=np.float32)
SPARSE = _called("torch._utils._rebuild_sparse_tensor", _called("torch.serialization._get_layout", "torch.sparse_coo"),
                 b"(" + _tensor("1", 2, (1, 2), (2, 1), "LongStorage") + _tensor("2", 2, (2,), (1,)) + b"(K\x05t\x89t")  # fmt: skip
BESIDE = {
    "Counter": (_called("collections.Counter", {1: 2}), {1: 2}),
    "Size": (_called("torch.Size", (3, 4)), (3, 4)),
    "set": (_called("__builtin__.set", [1, 2]), {1, 2}),
    "frozenset": (_called("builtins.frozenset", [1, 2]), {1, 2}),
    "complex": (_called("builtins.complex", 1.0, 2.0), 1 + 2j),
    "defaultdict": (_called("collections.defaultdict"), {}),
    "dtype": (b"ctorch\nfloat32\n", "<f4"),
    "device": (_called("torch.device", "cuda", 0), "<device>"),
    "Namespace": (_called("argparse.Namespace") + b"}X\1\0\0\0aK\1sb", "<Namespace>"),
    "quantized": (_called("torch._utils._rebuild_qtensor", 1), "<quantized tensor>"),
    "meta": (_called("torch._utils._rebuild_meta_tensor_no_storage", 1), "<tensor without numbers>"),
    "expanded": (
        _tensor("3", 9, (64, 1, 3, 3), (0, 9, 3, 1)),
        np.broadcast_to(np.ones((1, 3, 3), "f4"), (64, 1, 3, 3)),
    ),
    "sparse": (SPARSE, np.array([0, 5, 0, 7, 0], np.float32)),
    "complex64": (_tensor("4", 1, (1,), (1,), "ComplexFloatStorage"), np.array([1 + 2j], np.complex64)),
}


@pytest.mark.parametrize("name", BESIDE)
def test_what_stands_beside_the_weights_does_not_stop_them(tmp_path, name):
    opcodes, expected = BESIDE[name]
    body = b"\x80\x02}(X\1\0\0\0w" + _tensor("0", 6, (2, 3), (3, 1)) + b"X\1\0\0\0b" + opcodes + b"u."
    records = {
        "0": WEIGHTS,
        "1": np.array([1, 3]),
        "2": np.array([5, 7], "f4"),
        "3": np.ones(9, "f4"),
        "4": np.array([1 + 2j], "c8"),
    }
    (tmp_path / "a.pth").write_bytes(_zip(body, **{key: array.tobytes() for key, array in records.items()}))
    found = read_torch(tmp_path / "a.pth")
    np.testing.assert_array_equal(found["w"], WEIGHTS.reshape(2, 3))
    if isinstance(expected, np.ndarray):
        np.testing.assert_array_equal(found["b"], expected)
    else:
        assert found["b"] == expected or repr(found["b"]) == expected


def test_bfloat16_becomes_float32(tmp_path):
    content = (WEIGHTS.view(np.uint32) >> 16).astype("<u2").tobytes()
    body = b"\x80\x02" + _tensor("0", 6, (2, 3), (3, 1), "BFloat16Storage") + b"."
    (tmp_path / "a.pth").write_bytes(_zip(body, **{"0": content}))
    found = read_torch(tmp_path / "a.pth")
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, WEIGHTS.reshape(2, 3))


@pytest.mark.parametrize(
    "code", ["torch.uint16", "torch.uint32", "torch.uint64", "torch.bfloat16", "torch.float32"]
)
def test_tensors_of_untyped_storages(tmp_path, code):
    """`_rebuild_tensor_v3`: the type stands beside the tensor."""
    kind = code.split(".")[1]
    array = WEIGHTS if kind in ("bfloat16", "float32") else WEIGHTS.astype(kind)
    content = (array.view(np.uint32) >> 16).astype("<u2").tobytes() if kind == "bfloat16" else array.tobytes()
    storage = (
        b"(" + b"".join(pickle.dumps(part, 2)[2:-1] for part in ("storage",)) + b"ctorch\nUntypedStorage\n"
    )
    storage += b"".join(pickle.dumps(part, 2)[2:-1] for part in ("0", "cpu", len(content))) + b"tQ"
    body = _called(
        "torch._utils._rebuild_tensor_v3",
        storage,
        0,
        (2, 3),
        (3, 1),
        False,
        None,
        f"ctorch\n{kind}\n".encode(),
    )
    (tmp_path / "a.pth").write_bytes(_zip(b"\x80\x02" + body + b".", **{"0": content}))
    np.testing.assert_array_equal(read_torch(tmp_path / "a.pth"), array.reshape(2, 3))


def test_a_folder_is_named(tmp_path):
    with pytest.raises(InputError, match="found a folder. A checkpoint is one file"):
        read_torch(tmp_path)
    (tmp_path / "archive").mkdir()
    (tmp_path / "archive" / "data.pkl").touch()
    with pytest.raises(InputError, match="a checkpoint that was unpacked"):
        read_torch(tmp_path)
