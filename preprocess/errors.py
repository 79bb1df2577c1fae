"""Everything this project raises on purpose, each with a stable `code` and the exit status of a command it ends.

Exit statuses: 1 some of the work failed, 2 the caller asked for something impossible, 3 the machine cannot do it.
"""


class KineflowError(Exception):
    """Base of the tree. The message quotes the value and says what to do."""

    code = "error"
    exit_status = 1


class InvalidInput(KineflowError, ValueError):
    """An argument, option or list that no retry will make right."""

    code = "invalid_input"
    exit_status = 2


class EnvironmentProblem(KineflowError, RuntimeError):
    """The machine lacks something: a GPU, a driver, disk space, a library."""

    code = "environment"
    exit_status = 3


class BadMedia(KineflowError):
    """A video that cannot be decoded into at least two frames; costs that clip only."""

    code = "bad_media"


class Unavailable(KineflowError):
    """The source says that this clip is gone for good: removed, private, never there."""

    code = "unavailable"


class TemporarilyUnavailable(KineflowError):
    """The source may have the clip later: a rate limit, a bot wall, a server error, a timeout."""

    code = "temporary"


class BadShard(KineflowError):
    """A shard or index that breaks the contract; names the file and, where it can, the clip."""

    code = "bad_shard"


class WorkerDied(KineflowError):
    """The worker process that held this item ended without an answer (crash, out of memory)."""

    code = "worker_died"
