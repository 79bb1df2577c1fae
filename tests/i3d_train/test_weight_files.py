"""Tests of i3d_train.weight_files."""

import pickle
import zipfile
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save, save_file

from i3d_train.weight_files import open_tensors
from preprocess.errors import EnvironmentProblem, InvalidInput

TENSORS = {"a": torch.arange(6.0).reshape(2, 3), "b": torch.tensor(7)}
LEVELDB_END = bytes.fromhex("57fb808b247547db")


class Malicious:
    """What runs code when it is unpickled: it makes a file."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self):
        return (open, (str(self.mark), "w"))


def write_npz(path):
    # in Fortran's order, which numpy keeps
    arrays = {name: np.asarray(tensor.numpy(), order="F") for name, tensor in TENSORS.items()}
    np.savez(path.with_suffix(".npz"), **arrays)
    with zipfile.ZipFile(path.with_suffix(".npz"), "a") as archive:
        archive.writestr("LICENSE", "what is no array is passed over")
    return path.with_suffix(".npz").rename(path)


def write_torch(path):
    torch.save(TENSORS, path)
    return path


def write_old_torch(path):
    torch.save(TENSORS, path, _use_new_zipfile_serialization=False)
    return path


def write_wrapped(path):
    inside = {f"module.{name}": tensor for name, tensor in TENSORS.items()}
    torch.save({"epoch": 3, "optimizer": {}, "state_dict": inside}, path)
    return path


def write_safetensors(path):
    save_file(TENSORS, path)
    return path


WRITERS = [write_npz, write_torch, write_old_torch, write_wrapped, write_safetensors]
every_form = pytest.mark.parametrize("write", WRITERS)


def read_all(path: Path) -> dict[str, torch.Tensor]:
    file = open_tensors(path)
    return file.read(file.shapes)


@every_form
def test_form_is_told_by_content_whatever_the_name(write, tmp_path):
    path = write(tmp_path / "model.onnx")
    # of something else: what was asked for is there
    (tmp_path / "model.onnx.index").touch()
    assert open_tensors(path).shapes == {"a": (2, 3), "b": ()}
    found = read_all(path)
    assert all(torch.equal(found[name], tensor) for name, tensor in TENSORS.items())


# of 32 lengths in a row, which are multiples of 8, the low byte of one is a pickle's first; 0x4b50 reads "PK"
@pytest.mark.parametrize("length", [*range(0x90, 0x190, 8), 0x4B50, 0x14B50])
def test_safetensors_header_may_be_of_any_length(length, tmp_path):
    bare = int.from_bytes(save(TENSORS, metadata={"note": ""})[:8], "little")
    path = tmp_path / "w"
    path.write_bytes(save(TENSORS, metadata={"note": "x" * (length - bare)}))
    assert int.from_bytes(path.read_bytes()[:8], "little") == length
    assert open_tensors(path).shapes == {"a": (2, 3), "b": ()}


@every_form
def test_truncated_file_fails(write, tmp_path):
    path = write(tmp_path / "w")
    content = path.read_bytes()
    for length in (len(content) - 1, len(content) // 2, 12):
        path.write_bytes(content[:length])
        with pytest.raises(InvalidInput, match=r"fetch it again"):
            read_all(path)


@pytest.mark.parametrize("write", [write_npz, write_torch])
def test_flipped_bit_fails(write, tmp_path, monkeypatch):
    # of more bytes than are read to know its shape
    monkeypatch.setitem(TENSORS, "a", torch.arange(60_000.0))
    path = write(tmp_path / "w")
    content = bytearray(path.read_bytes())
    content[content.index(np.float32(59_999).tobytes()) + 2] ^= 1
    path.write_bytes(content)
    with pytest.raises(InvalidInput, match=r"fetch it again"):
        read_all(path)


@pytest.mark.parametrize("old", [False, True])
def test_malicious_pickle_is_never_run_fails(old, tmp_path):
    mark = tmp_path / "was-run"
    torch.save({"a": Malicious(mark)}, tmp_path / "w.pt", _use_new_zipfile_serialization=not old)
    with pytest.raises(
        InvalidInput, match=r"holds more than plain data, such as \S*open, and was not loaded; do not tr"
    ):
        open_tensors(tmp_path / "w.pt")
    assert not mark.exists()


def test_malicious_bare_pickle_is_never_run_fails(tmp_path):
    mark = tmp_path / "was-run"
    (tmp_path / "w.npz").write_bytes(pickle.dumps(Malicious(mark), protocol=2))
    with pytest.raises(InvalidInput, match=r"w\.npz (holds more than plain data|cannot be read)"):
        open_tensors(tmp_path / "w.npz")
    assert not mark.exists()


def test_malicious_array_is_never_run_fails(tmp_path):
    mark = tmp_path / "was-run"
    np.savez(tmp_path / "w.npz", a=np.zeros(1))
    opened = open_tensors(tmp_path / "w.npz")
    np.savez(tmp_path / "w.npz", a=np.array([Malicious(mark)], dtype=object))
    with pytest.raises(InvalidInput, match=r"holds object, not numbers"):
        open_tensors(tmp_path / "w.npz")
    with pytest.raises(InvalidInput, match=r"cannot be read to its end"):
        opened.read(["a"])
    assert not mark.exists()


@pytest.mark.parametrize("write_header", [np.lib.format.write_array_header_1_0, np.lib.format.write_array_header_2_0])
def test_declared_terabytes_are_told_and_not_read(write_header, tmp_path):
    header = BytesIO()
    write_header(header, {"descr": "<f4", "fortran_order": False, "shape": (10**12,)})
    with zipfile.ZipFile(tmp_path / "w.npz", "w") as archive:
        archive.writestr("a.npy", header.getvalue())
    assert open_tensors(tmp_path / "w.npz").shapes == {"a": (10**12,)}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ([torch.zeros(1)], r"holds a list, not tensors by name"),
        ({"a": torch.zeros(1)} | dict.fromkeys("edcb", 3), r"holds 4 entries that are .*, such as b, c, d; save a"),
        ({"a": torch.zeros(2, 2).to_sparse()}, r"holds 1 entries that are no plain tensors, such as a; save a"),
        ({"a": torch.zeros(2, device="meta")}, r"holds 1 entries that are no plain tensors, such as a; save a"),
        ({"a": torch.zeros(2, dtype=torch.complex64)}, r"holds 1 entries that are no plain tensors, such as a"),
    ],
)
def test_anything_but_tensors_fails(content, message, tmp_path):
    torch.save(content, tmp_path / "w.pt")
    with pytest.raises(InvalidInput, match=message):
        open_tensors(tmp_path / "w.pt")


@pytest.mark.filterwarnings("ignore")  # both kinds are on their way out of PyTorch
@pytest.mark.parametrize(
    "make",
    [
        lambda: torch.nested.nested_tensor([torch.zeros(2)]),
        lambda: torch.quantize_per_tensor(torch.zeros(2), 1.0, 0, torch.qint8),
    ],
)
def test_tensor_of_tensors_or_of_codes_fails(make, tmp_path):
    torch.save({"a": make()}, tmp_path / "w.pt")
    with pytest.raises(InvalidInput, match=r"holds 1 entries that are no plain tensors, such as a; save a"):
        open_tensors(tmp_path / "w.pt")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", r"have an unknown format; use \.npz"),
        (b"nothing known", r"have an unknown format"),
        (b"\x00" * 100, r"have an unknown format"),
        # the longest header that safetensors has, and a byte more
        ((100_000_000).to_bytes(8, "little") + b"{", r"is not a whole safetensors file"),
        ((100_000_001).to_bytes(8, "little") + b"{", r"have an unknown format"),
        (b"PK", r"is not a whole archive"),
        (b"\x80", r"cannot be read as a PyTorch file"),
        # a pickled number, in an opcode that PyTorch does not write
        (b"\x80\x02I5\n.", r"holds more than plain data and was not loaded"),
    ],
)
def test_unknown_content_fails(content, message, tmp_path):
    (tmp_path / "w.npz").write_bytes(content)
    with pytest.raises(InvalidInput, match=rf"w\.npz {message}"):
        open_tensors(tmp_path / "w.npz")


def test_exported_program_fails(tmp_path):
    program = torch.export.export(torch.nn.Linear(2, 2), (torch.zeros(1, 2),))
    torch.export.save(program, tmp_path / "w.pt2")
    with pytest.raises(InvalidInput, match=r"w\.pt2 is an exported program, not weights; give the weights that it"):
        open_tensors(tmp_path / "w.pt2")


def test_missing_file_fails(tmp_path):
    with pytest.raises(InvalidInput, match=r"w\.npz do not exist"):
        open_tensors(tmp_path / "w.npz")


def test_file_that_cannot_be_read_fails():
    # the bytes at address 0
    with pytest.raises(InvalidInput, match=r"weights /proc/self/mem cannot be read: Input/output error"):
        open_tensors(Path("/proc/self/mem"))


# of DataParallel, of torch.compile, and of both
@pytest.mark.parametrize("prefix", ["module.", "_orig_mod.", "module._orig_mod.", "_orig_mod.module."])
def test_only_a_prefix_of_all_names_is_dropped(prefix, tmp_path):
    torch.save({f"{prefix}a": torch.zeros(1), f"{prefix}b": torch.zeros(2)}, tmp_path / "w.pt")
    assert open_tensors(tmp_path / "w.pt").shapes == {"a": (1,), "b": (2,)}
    torch.save({"a": torch.zeros(1), f"{prefix}a": torch.zeros(2)}, tmp_path / "w.pt")
    assert open_tensors(tmp_path / "w.pt").shapes == {"a": (1,), f"{prefix}a": (2,)}


def test_folder_fails(tmp_path):
    with pytest.raises(InvalidInput, match=rf"weights {tmp_path} are a folder; give a file, such as best\.pt of a run"):
        open_tensors(tmp_path)


@pytest.mark.parametrize("name", ["model.ckpt.index", "model.ckpt"])
def test_tensorflow_checkpoint_without_tensorflow_tells_what_to_do_fails(name, tmp_path, monkeypatch):
    (tmp_path / "model.ckpt.index").write_bytes(bytes(40) + LEVELDB_END)
    # as where it is not installed
    monkeypatch.setitem(__import__("sys").modules, "tensorflow", None)
    with pytest.raises(EnvironmentProblem, match=r"no TensorFlow here; save .* as \.npz .*`pip install tensorflow`"):
        open_tensors(tmp_path / name)


def test_tensorflow_checkpoint_is_read(tmp_path):
    tensorflow = pytest.importorskip("tensorflow", reason="TensorFlow is not installed")
    variables = {name: tensorflow.Variable(tensor.numpy(), name=name) for name, tensor in TENSORS.items()}
    tensorflow.compat.v1.train.Saver(variables).save(None, str(tmp_path / "model.ckpt"), write_meta_graph=False)
    file = open_tensors(tmp_path / "model.ckpt")
    assert file.shapes == {"a": (2, 3), "b": ()}
    assert torch.equal(file.read(["a"])["a"], TENSORS["a"])
