import click
import pytest

from preprocess.commands import schema
from preprocess.commands.schema import DESCRIBED, Kind
from preprocess.errors import InvalidInput
from preprocess.jobs.options import WITHHELD, offered, order

OUT = {"lists": ["list.csv"], "out": ["clips"]}


@pytest.mark.parametrize("command", DESCRIBED)
def test_every_option_is_offered_or_withheld_for_a_reason(command):
    names = {parameter.name for parameter in schema.schema_of(command).parameters}
    assert names - {parameter.name for parameter in offered(command).parameters} == names & set(WITHHELD)


@pytest.mark.parametrize("command", DESCRIBED)
def test_all_that_names_a_file_is_a_path(command):
    paths = {parameter.name for parameter in offered(command).parameters if parameter.kind is Kind.PATH}
    described = {"lists", "out", "source-dir", "clips", "labels", "shards", "folder", "splits", "staging"}
    assert paths <= described
    assert {parameter.name for parameter in offered(command).parameters} & described <= paths


@pytest.mark.parametrize("command", DESCRIBED)
def test_no_path_is_said_to_be_an_address(command):
    helps = {one.name: one.help for one in offered(command).parameters if one.kind is Kind.PATH}
    assert [name for name, text in helps.items() if "address" in text] == []
    if command == "flow":
        assert helps["out"] == "Folder of the shards; running again makes only what is missing."


def test_text_that_nobody_has_looked_at_is_not_offered(monkeypatch):
    @click.command()
    @click.option("--new", help="Any text.")
    @click.option("--count", type=int, help="A number.")
    def command(new, count):
        """Do."""

    monkeypatch.setitem(schema._COMMANDS, "verify", command)
    assert [parameter.name for parameter in offered("verify").parameters] == ["count"]


def test_order_is_as_typed(tmp_path):
    given = {**OUT, "split": ["train", "--val"], "strict": ["true"], "limit": ["3"], "dataset": [""]}
    made = order("download", given, root=tmp_path)
    assert made.arguments == (
        *("--out=clips", "--split=train", "--split=--val", "--limit=3", "--strict"),
        *("--", "list.csv"),
    )
    assert made.options == {
        "lists": ("list.csv",),
        "out": ("clips",),
        "split": ("train", "--val"),
        "strict": ("true",),
        "limit": ("3",),
    }
    assert order("download", made.options, root=tmp_path) == made


@pytest.mark.parametrize("flag", ["false", "", " "])
def test_flag_that_is_not_given(flag, tmp_path):
    assert "strict" not in order("download", {**OUT, "strict": [flag]}, root=tmp_path).options


def refusal(options, root, *, command="download"):
    with pytest.raises(InvalidInput) as refused:
        order(command, options, root=root)
    return str(refused.value)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"out": ["clips"]}, "Missing argument 'LIST...'."),
        ({"lists": ["list.csv"]}, "Missing option '--out'."),
        ({**OUT, "limit": ["many"]}, "Invalid value for '--limit': 'many' is not a valid integer."),
        ({**OUT, "retry": ["all"]}, "Invalid value for '--retry': 'all' is not one of"),
        ({**OUT, "out": ["list.csv"]}, "Invalid value for '--out': Directory "),
        ({**OUT, "limit": ["1", "2"]}, "option limit takes 1 at most, got 2"),
        ({**OUT, "strict": ["perhaps"]}, "option strict is true or false, got 'perhaps'"),
        ({**OUT, "help": ["true"]}, "download has no option 'help'; it has lists, out, "),
        ({**OUT, "--out": ["x"]}, "download has no option '--out'"),
        ({**OUT, "cookies": ["cookies.txt"]}, "option cookies is not for jobs: a cookie file is a secret"),
        ({**OUT, "cookies-from-browser": ["firefox"]}, "option cookies-from-browser is not for jobs"),
        ({**OUT, "staging": ["x"]}, "option staging is not for jobs: it is for addresses"),
        ({**OUT, "proxy": ["http://me:word@proxy:3128"]}, "a user or password"),
        ({**OUT, "proxy": ["me:word@proxy:3128"]}, "a user or password"),
        ({**OUT, "proxy": ["http://me:word@proxy:3128/?to=http://site"]}, "a user or password"),
        ({**OUT, "proxy": ["me:word@proxy:3128/://"]}, "a user or password"),
        ({**OUT, "url-template": ["https://me:word@site/{youtube_id}"]}, "a user or password"),
        ({**OUT, "url-template": ["https://me:word@site/{youtube_id}?to=https://site"]}, "a user or password"),
        ({**OUT, "url-template": ["https://me@site?to={youtube_id}://"]}, "a user or password"),
        (
            {**OUT, "out": ["s3://bucket/clips"]},
            "no address such as 's3://bucket/clips'; run the command on a terminal",
        ),
        ({**OUT, "classes": ["a\0b"]}, "a character that nobody types"),
        ({**OUT, "classes": ["a\nb"]}, "a character that nobody types"),
        ({**OUT, "classes": ["a\x7fb"]}, "a character that nobody types"),
        ({**OUT, "classes": ["\ud800"]}, "a character that nobody types"),
        ({**OUT, "classes": ["x" * 5000]}, "takes 4096 characters at most, got 5000"),
        ({**OUT, "classes": ["x"] * 1001}, "takes 1000 at most, got 1001"),
    ],
)
def test_refused(options, message, tmp_path):
    (tmp_path / "list.csv").write_text("")
    assert message in refusal(options, tmp_path)


def test_an_at_sign_behind_the_host_is_no_password(tmp_path):
    (tmp_path / "list.csv").write_text("")
    template = "https://site/@videos/{youtube_id}?by=me@site"
    made = order("download", {**OUT, "url-template": [template], "classes": ["either//or @home"]}, root=tmp_path)
    assert (made.options["url-template"], made.options["classes"]) == ((template,), ("either//or @home",))


def test_unknown_command(tmp_path):
    for command in ("serve", "sample", "", "download --out=x"):
        assert "cannot be a job; use one of download, " in refusal(OUT, tmp_path, command=command)


@pytest.mark.parametrize("name", ["lists", "out", "source-dir", "mirror"])
@pytest.mark.parametrize(
    "path",
    [
        *("/etc", "/etc/passwd", "..", "../outside", "clips/../../outside", "a/../b", "./..", "link", "link/below"),
        *("loop", "//etc", ".kineflow-serve", ".kineflow-serve/jobs/x", "./.kineflow-serve"),
    ],
)
def test_path_that_leads_elsewhere(name, path, tmp_path):
    root, outside = tmp_path / "root", tmp_path / "outside"
    root.mkdir()
    outside.mkdir()
    (root / "link").symlink_to(outside)
    (root / "loop").symlink_to(root / "loop")
    assert f"option {name}" in refusal({**OUT, name: [path]}, root)


@pytest.mark.parametrize("labels", ["/etc/passwd", "../names.txt"])
def test_labels_are_no_way_out(labels, tmp_path):
    assert "option labels" in refusal({"clips": ["c"], "out": ["s"], "labels": [labels]}, tmp_path, command="flow")


def test_paths_within_are_made_plain(tmp_path):
    (tmp_path / "data").mkdir()
    (tmp_path / "same").symlink_to("data")
    given = {"lists": ["./lists//a.csv", "same/b.csv"], "out": ["."], "mirror": ["./archives"]}
    assert order("download", given, root=tmp_path).options == {
        "lists": ("lists/a.csv", "data/b.csv"),
        "out": (".",),
        "mirror": ("archives",),
    }


def test_names_and_addresses_stay_as_they_are(tmp_path):
    given = {**OUT, "mirror": ["https://site/list.txt"]}
    assert order("download", given, root=tmp_path).options["mirror"] == ("https://site/list.txt",)
    assert order("download", {**OUT, "mirror": ["kinetics400"]}, root=tmp_path).options["mirror"] == ("kinetics400",)
    flow = order("flow", {"clips": ["c"], "out": ["s"], "labels": ["ucf101"]}, root=tmp_path)
    assert "--labels=ucf101" in flow.arguments


def test_paths_are_looked_at_in_root_not_where_the_server_runs(tmp_path, monkeypatch):
    root, elsewhere = tmp_path / "root", tmp_path / "elsewhere"
    root.mkdir()
    elsewhere.mkdir()
    (elsewhere / "clips").write_text("a file")
    monkeypatch.chdir(elsewhere)
    assert order("download", OUT, root=root).options["out"] == ("clips",)
    (elsewhere / "clips").rename(root / "clips")
    assert "is a file" in refusal(OUT, root)
