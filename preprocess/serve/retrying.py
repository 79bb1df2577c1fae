"""What can be done about clips that are not there."""

from preprocess.config import RETRYABLE
from preprocess.outcomes import Outcome


def advice(outcome: str, *, command: str) -> str:
    """How clips of an outcome are tried again, in a sentence.

    Args:
        outcome: of the clips, not `done`.
        command: that made the folder, of `RunFolder`.
    """
    if command == "flow":
        return (
            "left out of their shards; tried again by `preprocess flow` with `--retry-failed`, or, where a video is "
            "replaced, with `--replan`, which makes all shards anew"
        )
    if command == "index" or outcome == Outcome.TEMPORARY:
        return f"tried again by the next `preprocess {command}`, without an option"
    assert outcome in RETRYABLE
    return f"tried again by `preprocess download` with `--retry {outcome}`"
