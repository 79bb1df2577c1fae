"""The error tree: what ends a command or costs a clip, each with a stable `code` and the exit status of a command.

Exit statuses: 1 some of the work failed, 2 the caller asked for something impossible, 3 the machine cannot do it.
"""

from enum import StrEnum


class Cause(StrEnum):
    """Why a clip could not be had, finer than its error: what `missing.csv` and the data set card count by."""

    REMOVED = "removed"
    PRIVATE = "private"
    ACCOUNT_CLOSED = "account_closed"
    COPYRIGHT = "copyright"
    AGE = "age"
    """Shown only to adults who are signed in."""
    REGION = "region"
    """Blocked in the country that asked."""
    MEMBERS_ONLY = "members_only"
    NOT_FOUND = "not_found"
    """HTTP 404 or 410, or not among the files of a folder or mirror."""
    UNAVAILABLE = "unavailable"
    """The site says no more than that."""

    BOT_WALL = "bot_wall"
    RATE_LIMIT = "rate_limit"
    FORBIDDEN = "forbidden"
    """HTTP 403: an address that expired, most often."""
    SERVER_ERROR = "server_error"
    TIMEOUT = "timeout"
    """No answer, or the deadline of the whole clip passed."""
    CONNECTION = "connection"
    """Refused, reset, no such host, or a body cut short."""
    UNKNOWN = "unknown"
    """A message that no rule knows; kept word for word."""

    NOT_VIDEO = "not_video"
    """A web page, a playlist, an archive: no video file."""
    DAMAGED = "damaged"
    TOO_SHORT = "too_short"

    WORKER_DIED = "worker_died"


class KineflowError(Exception):
    """Base of the tree. The message quotes the value and says what to do."""

    code = "error"
    exit_status = 1


class ClipError(KineflowError):
    """What costs one clip. `cause` says why; a subclass says what follows from it."""

    def __init__(self, message: str, *, cause: Cause | None = None) -> None:
        super().__init__(message)
        self.cause = cause or self.default_cause

    default_cause = Cause.UNKNOWN


class InvalidInput(KineflowError, ValueError):
    """An argument, option or list that no retry will make right."""

    code = "invalid_input"
    exit_status = 2


class NoClips(InvalidInput):
    """Shards or a list without a clip of the split that was asked for."""

    code = "no_clips"


class NoSuchJob(InvalidInput):
    """An id that no job has."""

    code = "no_such_job"


class JobConflict(KineflowError):
    """What is wanted of a job does not go with the state that it, or another one, is in."""

    code = "job_conflict"


class EnvironmentProblem(KineflowError, RuntimeError):
    """The machine lacks something: a GPU, a driver, disk space, a library."""

    code = "environment"
    exit_status = 3


class UnreadableFile(EnvironmentProblem):
    """A video that cannot be had here and now, whatever is in it: gone, another one, not for this user, on a disk that
    fails, or with no memory to decode it in."""

    code = "unreadable_file"


class DeviceLost(EnvironmentProblem):
    """A GPU failed in the middle of its work; this process can use it no more, another one perhaps can."""

    code = "device_lost"


class DeviceDead(EnvironmentProblem):
    """A GPU that does not compute for a fresh process either."""

    code = "device_dead"


class BadMedia(ClipError):
    """A video that cannot be decoded into at least two frames."""

    code = "bad_media"
    default_cause = Cause.DAMAGED


class Unavailable(ClipError):
    """The source says that this clip is gone for good: removed, private, never there."""

    code = "unavailable"
    default_cause = Cause.UNAVAILABLE


class TemporarilyUnavailable(ClipError):
    """The source may have the clip later: a rate limit, a bot wall, a server error, a timeout."""

    code = "temporary"

    def __init__(self, message: str, *, cause: Cause | None = None, retry_after_s: float | None = None) -> None:
        super().__init__(message, cause=cause)
        self.retry_after_s = retry_after_s
        """Seconds that the server asks to wait, where it does."""


class BadShard(KineflowError):
    """A shard or index that breaks the contract; names the file and, where it can, the clip."""

    code = "bad_shard"


class WorkerDied(ClipError):
    """The worker process that held this item ended without an answer (crash, out of memory)."""

    code = "worker_died"
    default_cause = Cause.WORKER_DIED
