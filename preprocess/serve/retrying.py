"""What can be done about clips that are not there."""

from preprocess.config import RETRYABLE
from preprocess.outcomes import Outcome
from preprocess.serve.run_folders import Kind


def advice(outcome: str, *, kind: str) -> str:
    """How clips of an outcome are tried again, in a sentence.

    Args:
        outcome: of the clips, not `done`.
        kind: of the run, a `Kind`.
    """
    if kind == Kind.SHARDS:
        return (
            "left out of their shards; tried again by `preprocess flow` with `--retry-failed`, or, where a video is "
            "replaced, with `--replan`, which makes all shards anew"
        )
    if outcome == Outcome.TEMPORARY:
        return "tried again by the next `preprocess download`, without an option"
    assert outcome in RETRYABLE
    return f"tried again by `preprocess download` with `--retry {outcome}`"
