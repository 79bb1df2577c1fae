import click
import pytest

from preprocess.cli import main
from preprocess.commands.schema import DESCRIBED, Kind, check_arguments, schema_of
from preprocess.errors import InvalidInput


@pytest.mark.parametrize("name", DESCRIBED)
def test_schema_is_that_of_the_command(name):
    command, schema = main.commands[name], schema_of(name)
    assert [parameter.is_argument for parameter in schema.parameters] == [
        isinstance(parameter, click.Argument) for parameter in command.params
    ]
    assert len({parameter.name for parameter in schema.parameters}) == len(command.params)
    for ours, theirs in zip(schema.parameters, command.params, strict=True):
        assert ours.is_argument or f"--{ours.name}" in theirs.opts
        assert ours.is_required == theirs.required
        assert ours.is_argument or ours.help == theirs.help
        assert theirs.nargs in {1, -1}
        assert ours.is_many == (theirs.multiple or theirs.nargs == -1)
    assert schema.summary == command.get_short_help_str(limit=200)
    assert "\b" not in schema.help


@pytest.mark.parametrize("name", DESCRIBED)
def test_every_flag_is_off_until_it_is_given(name):
    flags = [parameter for parameter in schema_of(name).parameters if parameter.kind is Kind.FLAG]
    assert [flag.default for flag in flags] == ["false"] * len(flags)


def test_kinds_and_defaults():
    found = {parameter.name: parameter for parameter in schema_of("download").parameters}
    kinds = {name: found[name].kind for name in ("lists", "limit", "rate", "strict", "retry", "mirror")}
    assert kinds == {
        "lists": "path",
        "limit": "integer",
        "rate": "number",
        "strict": "flag",
        "retry": "choice",
        "mirror": "text",
    }
    assert (found["seed"].default, found["limit"].default, found["split"].default) == ("0", None, None)
    assert found["retry"].choices == ("unavailable", "bad_media", "quarantined")
    assert found["proxy"].metavar == "URL"
    assert {parameter.name: parameter.kind for parameter in schema_of("index").parameters}["fold"] is Kind.INTEGER


def test_arguments_are_parsed_and_nothing_runs(tmp_path):
    check_arguments("download", [f"--out={tmp_path / 'clips'}", "--", str(tmp_path / "list.csv")])
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(InvalidInput, match="No such option"):
        check_arguments("download", ["--what"])
    with pytest.raises(InvalidInput, match=r"1<=x<=3"):
        check_arguments("index", ["--fold=4", "--splits=x", "ucf101", "dir"])


def test_other_commands_have_none():
    with pytest.raises(InvalidInput, match="'serve' cannot be a job; use one of download, index, flow"):
        schema_of("serve")
