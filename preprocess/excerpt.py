"""Text from elsewhere (titles, messages, labels), cut to one line and made safe for where it is shown."""

import re

from preprocess.console import printable

# a bare address becomes a link on code-hosting pages; a pipe would end a table's cell
_MARKDOWN = re.compile(r"[\\`*_{}\[\]<>#|~!&]|:(?=//)|(?<=www)\.", re.IGNORECASE)


def one_line(text: str, *, length: int = 160) -> str:
    r"""`text` for one line of a terminal: line breaks and runs of blanks as one blank, control characters escaped.

    Example:
        >>> one_line("Video\nunavailable \x1b[2J")
        'Video unavailable \\x1b[2J'
    """
    line = printable(" ".join(text[: 4 * length].split()))
    return line if len(line) <= length else line[: length - 3] + "..."


def markdown(text: str) -> str:
    r"""`text` for a cell of a Markdown table: as `one_line`, and nothing in it is markup, a tag or a link.

    Example:
        >>> markdown("a|b <img src=x> http://example.org")
        'a\\|b \\<img src=x\\> http\\://example.org'
    """
    return _MARKDOWN.sub(r"\\\g<0>", one_line(text))
