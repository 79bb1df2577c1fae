import pytest
from markdown_it import MarkdownIt

from preprocess.excerpt import markdown, one_line


def test_line_breaks_and_control_characters_do_not_get_through():
    assert one_line("a\r\n\tb \x1b[31mred\x07 \u202e") == r"a b \x1b[31mred\x07 \u202e"


def test_long_text_is_cut():
    assert one_line("x" * 10**6, length=10) == "xxxxxxx..."


@pytest.mark.parametrize(
    "text",
    [
        "a|b",
        "a\\|b",
        "a\\\\|b",
        "`code` *bold* _it_ ~~gone~~ <b> &lt; [x](y) ![x](y) {a} # head",
        "https://example.org www.example.org",
        "ends with \\",
    ],
)
def test_markdown_shows_the_text_as_it_is(text):
    page = f"| head | more |\n| --- | --- |\n| {markdown(text)} | more |\n"
    html = MarkdownIt("commonmark").enable(["table", "strikethrough"]).render(page)
    shown = text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    assert f"<td>{shown}</td>\n<td>more</td>" in html


def test_plain_labels_stay_readable():
    assert markdown("tying knot (not on a tie)") == "tying knot (not on a tie)"
