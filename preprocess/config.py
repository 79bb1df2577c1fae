"""What can be set: one frozen dataclass a command, each field documented and checked."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from fractions import Fraction
from pathlib import Path
from urllib.parse import urlsplit

from preprocess.address import names_host
from preprocess.cores import cores
from preprocess.errors import InvalidInput
from preprocess.flow.params import Tvl1Params
from preprocess.schedule import RetryPolicy
from preprocess.target import FolderTarget, Target, target_of

SHARD_CLIPS = 64
SHARD_BYTES = 512 << 20
RETRYABLE = ("unavailable", "bad_media", "quarantined")
"""Outcomes that a later run leaves as they are, unless asked."""
SOURCES = ("directory", "mirror", "url", "youtube")
YOUTUBE_PER_HOUR = 300.0
"""Videos an hour that a YouTube session without an account gets.

Source: yt-dlp wiki, Extractors, "This content isn't available, try again later"."""

_LEAST_RATE = 0.01  # videos an hour: one in four days
_LONGEST_S = 7 * 86_400  # timers take no infinity
_OPTION_OF = {"directory": "--source-dir", "mirror": "--mirror", "url": "--url-template"}


def _check(condition: bool, message: str) -> None:
    if not condition:
        raise InvalidInput(message)


@dataclass(frozen=True, kw_only=True)
class WorkerConfig:
    """How work is spread over processes."""

    workers: int = field(default_factory=cores)
    """Worker processes; 0 does everything in this process, without Ray."""
    gpus: int = 0
    """GPUs, one for each worker; 0 keeps workers on the CPU."""
    helpers: int = 0
    """Threads of a worker that decode and encode while it computes flow; on the GPUs of a cluster at most so many, as
    its nodes have cores for them."""
    address: str | None = None
    """Ray cluster to use, such as `auto` or `host:6379`; None starts a local one for this run."""

    def __post_init__(self) -> None:
        _check(self.workers >= 0, f"workers must be at least 0, got {self.workers}")
        _check(self.helpers >= 0, f"helpers must be at least 0, got {self.helpers}")
        _check(self.gpus in {0, self.workers}, f"{self.gpus} GPUs need as many workers, got {self.workers}")
        _check(
            self.address is None or self.workers > 0,
            f"a Ray address ({self.address}) needs at least 1 worker",
        )

    @property
    def computes_here(self) -> bool:
        """Whether flow is computed on this machine, and not on GPUs of a cluster, which it may do without."""
        return not (self.gpus and self.address)

    @classmethod
    def on_gpus(cls, gpus: int, *, address: str | None = None) -> "WorkerConfig":
        """A worker for each GPU, with its share of the cores, 16 at most, to decode and encode for it.

        A frame takes 1.2 to 1.6 ms of a core (340x256, measured on an AMD Zen 4): that many keep up with some 10,000 a
        second, if they scale.
        """
        most = 16
        share = most if address else cores() // max(gpus, 1) - 1
        return cls(workers=gpus, gpus=gpus, helpers=min(max(share, 1), most), address=address)


@dataclass(frozen=True, kw_only=True)
class Identity:
    """Who a source sees: its limits are counted, and its walls stand, for each one apart."""

    proxy: str | None = None
    """Address of a proxy, such as `http://host:3128` or `socks5://user:word@host:1080`."""
    cookies: Path | None = None
    """A cookie file in Netscape format; read, never written."""

    def __post_init__(self) -> None:
        _check(
            self.proxy is None
            or (names_host(self.proxy) and re.match(r"(https?|socks[45][ah]?)://[^/\s]+/?$", self.proxy) is not None),
            f"proxy {self.proxy!r} is not an address such as http://host:3128 or socks5://host:1080",
        )
        if self.cookies is not None:
            _check(self.cookies.is_file(), f"cookie file {self.cookies} does not exist")
            with self.cookies.open("rb") as file:
                first = file.readline(100)
            _check(
                re.match(rb"# (Netscape )?HTTP Cookie File", first) is not None,
                f"cookie file {self.cookies} is not in Netscape format: its first line must be "
                "'# Netscape HTTP Cookie File'",
            )

    @property
    def name(self) -> str:
        """For messages and the limiter; a proxy's user and password are left out."""
        proxy = urlsplit(self.proxy).netloc.rpartition("@")[2] if self.proxy else ""
        return " ".join(
            [
                *([f"via {proxy}"] if proxy else []),
                *([f"with {self.cookies.name}"] if self.cookies else []),
            ]
        )

    @staticmethod
    def pair_up(proxies: Sequence[str], cookies: Sequence[Path]) -> "tuple[Identity, ...]":
        """Identities from options: as many of both are paired in order; one cookie file serves all proxies, and so on.

        Raises:
            InvalidInput: several of both, not equally many.
        """
        count = max(len(proxies), len(cookies), 1)
        _check(
            {len(proxies), len(cookies)} <= {0, 1, count},
            f"{len(proxies)} proxies and {len(cookies)} cookie files cannot be paired; give one, or equally many",
        )
        return tuple(
            Identity(
                proxy=proxies[i % len(proxies)] if proxies else None,
                cookies=cookies[i % len(cookies)] if cookies else None,
            )
            for i in range(count)
        )


@dataclass(frozen=True, kw_only=True)
class DownloadConfig:
    """`preprocess download`."""

    out: Path
    """Folder of the clips and their manifest."""
    store: str | None = None
    """An address that the clips go to instead, such as `s3://bucket/clips`; `out` is the staging folder then."""
    sources: tuple[str, ...] = ()
    """Where clips come from, of `SOURCES`, each asked for what those before it did not have. Empty: the folder, the
    mirror and the address that are given, in this order, or YouTube when none is."""
    url_template: str | None = None
    """Where videos are, with `{youtube_id}`; source `url`."""
    source_dir: Path | None = None
    """A local folder, with subfolders, of whole videos `{youtube_id}.*` or finished clips `{key}.*`; source
    `directory`."""
    mirror: str | None = None
    """Which archives of clips: a name such as `kinetics400`, or the address or path of a list of archives; source
    `mirror`."""
    identities: tuple[Identity, ...] = (Identity(),)
    """Who asks; several take turns."""
    cookies_from_browser: str | None = None
    """A browser of this machine whose cookies are used, in yt-dlp's notation: `firefox`, `chrome:Profile 1`."""
    rate: float | None = None
    """Videos an hour and identity; None is `YOUTUBE_PER_HOUR` for YouTube and no limit for an address."""
    retry: frozenset[str] = frozenset()
    """Outcomes of earlier runs to try again, of `RETRYABLE`; temporary ones always are."""
    retries: RetryPolicy = field(default_factory=RetryPolicy)
    """When to try again within a run what failed for now."""
    pause_s: float | None = None
    """Seconds of the first pause after a row of walls; None is 15 minutes for YouTube and one for an address."""
    give_up_s: float = 3 * 3600.0
    """A run whose every answer was a wall for so long stops; the clips it did not reach stay untried."""
    deadline_s: float = 600.0
    """Seconds for fetching and trimming one clip."""
    min_share: float = 0.9
    """A clip that holds less than this share of its wanted seconds is bad media."""
    socket_timeout_s: float = 20.0
    """Seconds without a byte after which a connection is given up."""

    def __post_init__(self) -> None:
        template = self.url_template
        _check(
            template is None or "{youtube_id}" in template,
            f"url template {template!r} lacks {{youtube_id}}; for example https://host/{{youtube_id}}.mp4",
        )
        others = sorted(set(re.findall(r"\{[^{}]*\}", template or "")) - {"{youtube_id}"})
        _check(
            not others,
            f"url template {template!r} has {', '.join(others)}; only {{youtube_id}} is filled in, write another brace "
            "as %7B or %7D",
        )
        _check(
            template is None or (template.startswith(("http://", "https://")) and names_host(template)),
            f"url template {template!r} must start with http:// or https:// and the name of a host",
        )
        _check(self.source_dir is None or self.source_dir.is_dir(), f"source folder {self.source_dir} does not exist")
        for name in self.sources:
            _check(name in SOURCES, f"source {name!r} is unknown; use {', '.join(SOURCES)}")
            _check(self._needs.get(name, "") is not None, f"source {name} needs {_OPTION_OF.get(name)}")
        _check(len(set(self.sources)) == len(self.sources), f"a source stands twice in {','.join(self.sources)}")
        for name, value in self._needs.items():
            unused = value is not None and bool(self.sources) and name not in self.sources
            _check(not unused, f"{_OPTION_OF[name]} is given, but {','.join(self.sources)} leaves out {name}")
        _check(self.retry <= set(RETRYABLE), f"retry knows {', '.join(RETRYABLE)}, got {sorted(self.retry)}")
        _check(0 < self.min_share <= 1, f"min_share must be above 0 and at most 1, got {self.min_share}")
        _check(
            self.rate is None or self.rate >= _LEAST_RATE,
            f"rate must be at least {_LEAST_RATE} videos an hour, got {self.rate}",
        )
        for name in ("socket_timeout_s", "deadline_s", "give_up_s"):
            _check(
                0 < getattr(self, name) <= _LONGEST_S,
                f"{name} must be above 0 s and at most {_LONGEST_S} s, got {getattr(self, name)}",
            )
        names = [one.name for one in self.identities]
        _check(len(names) > 0, "at least one identity is needed")
        twice = next((name for name in names if names.count(name) > 1), None)
        _check(twice is None, f"two identities are called {twice!r}; rename a cookie file or leave one out")

    @property
    def chain(self) -> tuple[str, ...]:
        """The sources in their order, those implied by the other options included."""
        implied = tuple(name for name, value in self._needs.items() if value is not None)
        return self.sources or implied or ("youtube",)

    @property
    def _needs(self) -> dict[str, object]:
        """What a source cannot be asked without."""
        return {"directory": self.source_dir, "mirror": self.mirror, "url": self.url_template}

    def absolute(self) -> "DownloadConfig":
        """The same for workers, which have another working folder on a cluster."""
        return replace(
            self,
            out=self.out.absolute(),
            source_dir=self.source_dir and self.source_dir.absolute(),
            identities=tuple(replace(one, cookies=one.cookies and one.cookies.absolute()) for one in self.identities),
        )

    @property
    def target(self) -> Target:
        """Where the clips go."""
        return FolderTarget(folder=self.out) if self.store is None else target_of(self.store, staging=self.out)

    def askers(self, source: str) -> "dict[str, Identity]":
        """Who asks a source, by the name that the limiter counts them under: the site, and how it is reached."""
        site = source
        if source == "url" and self.url_template:
            site = urlsplit(self.url_template).netloc.rpartition("@")[2]  # user and password are nobody's business
        return {f"{site} {one.name}".strip(): one for one in self.identities}

    def narrowed(self, source: str, asker: str) -> "DownloadConfig":
        """This configuration for one request: one source, asked by one of its `askers`."""
        return replace(
            self,
            sources=(source,),
            identities=(self.askers(source)[asker],),
            url_template=self.url_template if source == "url" else None,
            source_dir=self.source_dir if source == "directory" else None,
            mirror=self.mirror if source == "mirror" else None,
        )


@dataclass(frozen=True, kw_only=True)
class FlowConfig:
    """`preprocess flow`: what is computed. Two runs with equal fields and clips give equal bytes."""

    fps: Fraction = Fraction(25)
    """Frame rate after resampling by presentation time."""
    short_side: int = 256
    """Pixels of the shorter side after the bilinear resize, aspect kept; flow is computed on these frames."""
    rgb_quality: int = 95
    """JPEG quality of the frames, 1 to 100."""
    flow_quality: int = 95
    """JPEG quality of the flow, 1 to 100."""
    clips_per_shard: int = SHARD_CLIPS
    """At most so many clips a shard."""
    bytes_per_shard: int = SHARD_BYTES
    """At most so many bytes a shard, as planned from frame counts and sizes."""
    tvl1: Tvl1Params = field(default_factory=Tvl1Params)
    """Parameters of the flow."""
    backend: str = "auto"
    """Which implementation of the flow: `auto` or a name of `preprocess.flow.BACKENDS`."""

    def __post_init__(self) -> None:
        # as shards hold it, numerator and denominator in 64 bits each
        _check(Fraction(1, 1000) <= self.fps <= 240, f"fps must be 0.001 to 240, got {self.fps}")
        _check(self.fps.denominator < 1 << 53, f"fps must be of fewer digits, such as 30000/1001, got {self.fps}")
        _check(16 <= self.short_side <= 2304, f"short_side must be 16 to 2304 pixels, got {self.short_side}")
        for name in ("rgb_quality", "flow_quality"):
            _check(1 <= getattr(self, name) <= 100, f"{name} must be 1 to 100, got {getattr(self, name)}")
        _check(self.clips_per_shard >= 1, f"clips_per_shard must be at least 1, got {self.clips_per_shard}")
        _check(
            self.bytes_per_shard >= 1 << 20,
            f"bytes_per_shard must be at least 1 MiB, got {self.bytes_per_shard}",
        )
