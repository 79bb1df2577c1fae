"""Files that hold tensors by name: told apart by what is in them, never by what they are called.

    .npz            one array a variable
    PyTorch         a dict of tensors, in a zip archive or in the form before it, or a checkpoint of ours
    safetensors     ours and others'
    TensorFlow      checkpoints, where TensorFlow is installed

Files may come from anybody: none is allowed to unpickle objects, and an array's declared shape is known before
it is read.
"""

import pickle
import re
import zipfile
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import IO, Any, TypeGuard

import numpy as np
import torch
from safetensors import SafetensorError, safe_open

from i3d_train import checkpoint
from i3d_train.archive import MALFORMED, archive_fault
from i3d_train.options import fold_of
from i3d_train.weight_info import WeightsInfo, fps_of, read_header, short_side_of, transfer_of
from preprocess.errors import EnvironmentProblem, InvalidInput

_TABLE_END = bytes.fromhex("57fb808b247547db")
"""Last eight bytes of a TensorFlow checkpoint's index, which is a LevelDB table."""

_WRAPPERS = ("module.", "_orig_mod.", "module.")
"""What DataParallel and torch.compile put before every name, in either order."""
_LONGEST_HEADER = 100_000_000
"""Bytes of a safetensors file's header, of which its first eight bytes tell the length."""


@dataclass(frozen=True, kw_only=True)
class TensorFile:
    """An open file of tensors."""

    path: Path
    shapes: Mapping[str, tuple[int, ...]]
    """Of every tensor, by its name in the file."""
    read: Callable[[Iterable[str]], dict[str, torch.Tensor]]
    """Tensors by their names in the file. Raises InvalidInput when their bytes are damaged."""
    info: WeightsInfo | None = None
    """What the file says that it is for; None when it is not one of ours."""


def open_tensors(path: Path) -> TensorFile:
    """Open a file of tensors.

    Args:
        path: of a TensorFlow checkpoint, its `.index` or the name that its files begin with.

    Raises:
        InvalidInput: no such file, of no known form, damaged, or holding more than plain data.
        EnvironmentProblem: a TensorFlow checkpoint, and no TensorFlow.
    """
    index = path.with_name(f"{path.name}.index")
    if not path.is_file() and index.is_file():
        path = index
    if path.is_dir():
        raise InvalidInput(f"weights {path} are a folder; give a file, such as best.pt of a run")
    if not path.is_file():
        raise InvalidInput(f"weights {path} do not exist")
    try:
        with path.open("rb") as file:
            start = file.read(9)
            file.seek(-min(8, path.stat().st_size), 2)
            end = file.read()
    except OSError as error:
        raise InvalidInput(f"weights {path} cannot be read: {error.strerror}") from error
    # first: its length may begin as the others do, while read as a length and a brace none of theirs is possible
    if start[8:] == b"{" and int.from_bytes(start[:8], "little") <= _LONGEST_HEADER:
        return _open_safetensors(path)
    if start.startswith(b"PK"):
        return _open_archive(path)
    if start.startswith(b"\x80"):
        return _open_torch(path)
    if end == _TABLE_END:
        return _open_tensorflow(path)
    raise InvalidInput(
        f"weights {path} have an unknown format; use .npz, PyTorch's, safetensors, or the .index of a TensorFlow "
        f"checkpoint"
    )


def _open_archive(path: Path) -> TensorFile:
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
    except MALFORMED as error:
        raise InvalidInput(f"{path} is not a whole archive ({error}); fetch it again") from error
    if any(name.endswith("/archive_format") for name in names):  # of torch.export
        raise InvalidInput(f"{path} is an exported program, not weights; give the weights that it was made from")
    return _open_npz(path) if any(name.endswith(".npy") for name in names) else _open_torch(path)


def _open_npz(path: Path) -> TensorFile:
    try:
        with zipfile.ZipFile(path) as archive:
            entries = [name for name in archive.namelist() if name.endswith(".npy")]
            shapes = {entry.removesuffix(".npy"): _npy_shape(archive, entry) for entry in entries}
    except MALFORMED as error:
        raise InvalidInput(f"{path} is not a whole .npz of plain arrays ({error}); fetch it again") from error

    def read(names: Iterable[str]) -> dict[str, torch.Tensor]:
        try:
            with np.load(path, allow_pickle=False) as archive:
                return {name: torch.from_numpy(archive[name]) for name in names}
        except MALFORMED as error:
            raise InvalidInput(f"{path} cannot be read to its end ({error}); fetch it again") from error

    return TensorFile(path=path, shapes=shapes, read=read)


def _npy_shape(archive: zipfile.ZipFile, entry: str) -> tuple[int, ...]:
    file: IO[bytes]
    with archive.open(entry) as file:
        version = np.lib.format.read_magic(file)
        read_header = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        shape, _, dtype = read_header(file)
    if dtype.kind not in "fiu":
        raise ValueError(f"{entry} holds {dtype}, not numbers")
    return tuple(int(length) for length in shape)


def _open_torch(path: Path) -> TensorFile:
    content = _torch_content(path)
    if isinstance(content, dict) and content.get("format") == checkpoint.FORMAT:
        saved = checkpoint.parse(content, path)
        return _of_tensors(path, saved.weights, info=_checkpoint_info(path, saved))
    # as training scripts save it: beside the optimiser, and from inside DataParallel and torch.compile
    for wrapper in ("state_dict", "model_state_dict", "model"):
        if isinstance(content, dict) and isinstance(content.get(wrapper), dict):
            content = content[wrapper]
    if not isinstance(content, dict):
        raise InvalidInput(f"{path} holds a {type(content).__name__}, not tensors by name; save a state_dict()")
    tensors = {str(name): value for name, value in content.items()}
    for prefix in _WRAPPERS:
        if all(name.startswith(prefix) for name in tensors):
            tensors = {name.removeprefix(prefix): value for name, value in tensors.items()}
    return _of_tensors(path, tensors)


def _checkpoint_info(path: Path, saved: checkpoint.Checkpoint) -> WeightsInfo:
    try:
        width = float(saved.config["width"])
        transfer = transfer_of(saved.config["transfer"])
        short_side = short_side_of(saved.config.get("short_side"))
        fps = fps_of(saved.config.get("fps"))
    except (ValueError, KeyError, TypeError, OverflowError) as error:
        raise InvalidInput(f"checkpoint {path} has a damaged configuration ({error!r}); use an older one") from error
    return WeightsInfo(
        path=path,
        model=saved.model_name,
        stream=saved.stream,
        num_classes=saved.num_classes,
        labels=saved.labels,
        width=width,
        transfer=transfer,
        short_side=short_side,
        fps=fps,
        fold=fold_of(Path(str(saved.config.get("clips")))),
    )


def _of_tensors(path: Path, tensors: Mapping[str, object], *, info: WeightsInfo | None = None) -> TensorFile:
    plain = {name: value for name, value in tensors.items() if _is_plain(value)}
    if strange := sorted(set(tensors) - set(plain)):
        raise InvalidInput(
            f"{path} holds {len(strange)} entries that are no plain tensors, such as {', '.join(strange[:3])}; "
            f"save a state_dict()"
        )
    shapes = {name: tuple(tensor.shape) for name, tensor in plain.items()}
    return TensorFile(path=path, shapes=shapes, read=lambda names: {name: plain[name] for name in names}, info=info)


def _is_plain(value: object) -> TypeGuard[torch.Tensor]:
    if not isinstance(value, torch.Tensor):
        return False
    # of layout strided too: one that has a shape and no numbers, and one of several tensors, which has no shape
    whole = value.layout == torch.strided and not value.is_meta and not value.is_nested
    return whole and not value.is_quantized and not value.is_complex()


def _torch_content(path: Path) -> Any:
    try:
        is_archive = zipfile.is_zipfile(path)
        fault = archive_fault(path) if is_archive else None
        if fault is None:
            return torch.load(path, map_location="cpu", weights_only=True, mmap=is_archive)
    except pickle.UnpicklingError as error:
        # its message recommends to load without the check, which is the one thing not to do
        refused = re.search(r"GLOBAL (\S+)", str(error))
        raise InvalidInput(
            f"{path} holds more than plain data{f', such as {refused[1]},' if refused else ''} and was not loaded; "
            f"do not trust it, or ask for its state_dict() alone"
        ) from error
    except MALFORMED as error:
        raise InvalidInput(f"{path} cannot be read as a PyTorch file ({error}); fetch it again") from error
    raise InvalidInput(f"{path} {fault}; fetch it again")


def _open_safetensors(path: Path) -> TensorFile:
    try:
        with safe_open(path, framework="pt") as file:
            shapes = {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118  (no dict)
            info = read_header(file.metadata() or {}, path)
    except (SafetensorError, OSError) as error:
        raise InvalidInput(f"{path} is not a whole safetensors file ({error}); fetch it again") from error

    def read(names: Iterable[str]) -> dict[str, torch.Tensor]:
        with safe_open(path, framework="pt") as file:
            return {name: file.get_tensor(name) for name in names}

    return TensorFile(path=path, shapes=shapes, read=read, info=info)


def _open_tensorflow(path: Path) -> TensorFile:
    try:
        tensorflow: Any = import_module("tensorflow")
    except ImportError as error:
        raise EnvironmentProblem(
            f"{path} is a TensorFlow checkpoint, and there is no TensorFlow here; save its variables as .npz where "
            f"there is one: with reader = tensorflow.train.load_checkpoint(path), "
            f"numpy.savez('w.npz', **{{n: reader.get_tensor(n) for n in reader.get_variable_to_shape_map()}}); or "
            f"`pip install tensorflow`, and then `pip install 'h5py>=3.16'`, which it takes away"
        ) from error
    try:
        reader = tensorflow.train.load_checkpoint(str(path).removesuffix(".index"))
        shapes = {name: tuple(shape) for name, shape in reader.get_variable_to_shape_map().items()}
    except (tensorflow.errors.OpError, *MALFORMED) as error:
        raise InvalidInput(f"{path} is not a whole TensorFlow checkpoint ({error}); fetch it again") from error

    def read(names: Iterable[str]) -> dict[str, torch.Tensor]:
        try:
            return {name: torch.from_numpy(np.asarray(reader.get_tensor(name))) for name in names}
        except (tensorflow.errors.OpError, *MALFORMED) as error:
            raise InvalidInput(f"{path} cannot be read to its end ({error}); fetch it again") from error

    return TensorFile(path=path, shapes=shapes, read=read)
