from dataclasses import dataclass
from enum import StrEnum

import pytest

from preprocess.errors import InvalidInput
from preprocess.typed_json import decode


class Colour(StrEnum):
    RED = "red"


@dataclass(frozen=True)
class Leaf:
    size: float | None


@dataclass(frozen=True)
class Tree:
    name: str
    colour: Colour
    leaves: tuple[Leaf, ...]
    counts: dict[str, int]
    is_tall: bool


GOOD = {"name": "oak", "colour": "red", "leaves": [{"size": 1}, {"size": None}], "counts": {"a": 2}, "is_tall": True}


def test_values_get_the_types_of_their_fields():
    tree = decode(Tree, {**GOOD, "more": 1}, where="tree")
    assert tree == Tree("oak", Colour.RED, (Leaf(1.0), Leaf(None)), {"a": 2}, True)
    assert type(tree.leaves[0].size) is float


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"name": 7}, r"tree\.name should be str, it is 7"),
        ({"colour": "blue"}, r"tree\.colour should be Colour, it is 'blue'"),
        ({"colour": ["red"]}, r"tree\.colour should be Colour"),
        ({"leaves": {}}, r"tree\.leaves should be tuple, it is \{\}"),
        ({"leaves": [{"size": "1"}]}, r"tree\.leaves\[0\]\.size should be float, it is '1'"),
        ({"leaves": [{"size": float("nan")}]}, r"size should be float, it is nan"),
        ({"leaves": [{}]}, r"tree\.leaves\[0\] lacks size"),
        ({"leaves": [[]]}, r"tree\.leaves\[0\] should be an object, it is \[\]"),
        ({"counts": {"a": True}}, r"tree\.counts\.a should be int, it is True"),
        ({"counts": {"a": 1.0}}, r"tree\.counts\.a should be int"),
        ({"counts": {"a": 1 << 63}}, r"tree\.counts\.a should be int, it is 9223372036854775808"),
        ({"leaves": [{"size": 10**400}]}, r"tree\.leaves\[0\]\.size should be float, it is 1000"),
        ({"is_tall": 1}, r"tree\.is_tall should be bool, it is 1"),
        ({"name": "x" * 999, "is_tall": "y" * 999}, "^.{1,150}$"),
    ],
)
def test_other_types_fail(fields, message):
    with pytest.raises(InvalidInput, match=message):
        decode(Tree, {**GOOD, **fields}, where="tree")
