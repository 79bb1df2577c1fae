"""Named recipes: values of `TrainConfig` that belong together. A new one is an entry of `PRESETS`."""

from collections.abc import Mapping
from dataclasses import fields
from fractions import Fraction
from types import MappingProxyType
from typing import Any

from i3d_train.config import TrainConfig
from i3d_train.models import network_class
from preprocess.errors import InvalidInput

PRESETS: Mapping[str, Mapping[str, Any]] = MappingProxyType(
    {
        # Carreira and Zisserman 2017: 110k steps of 384 clips of Kinetics-400 are 176 epochs; the rate and weight
        # decay are those of the released networks (README of google-deepmind/kinetics-i3d), 6 clips a replica.
        # Frames and crop are those that the paper trains each network on: for I3D 64 and 224, see `config_of`
        "paper": MappingProxyType(
            {
                "short_side": 256,
                "fps": Fraction(25),
                "flip": True,
                "batch_size": 6,
                "epochs": 176,
                "momentum": 0.9,
                "weight_decay": 1e-7,
                "schedule": "plateau",
                "dropout": 0.5,
            }
        ),
        # Today's habits for the same network: length, warm-up and weight decay of SlowFast's I3D (configs/Kinetics/
        # I3D_8x8_R50.yaml: 34 of 196 epochs), clipping of mmaction2's
        "modern": MappingProxyType(
            {
                "batch_size": 64,
                "accumulate": 8,
                "epochs": 196,
                "weight_decay": 1e-4,
                "schedule": "cosine",
                "warmup": 0.17,
                "clip_norm": 40.0,
                "label_smoothing": 0.1,
                "ema": 0.9999,
            }
        ),
    }
)


def config_of(preset: str | None, **given: Any) -> TrainConfig:
    """The configuration of a preset, with what was given in place of its values.

    Frames and crop that nobody gives are those of the network's `sampling`.

    Args:
        preset: a key of `PRESETS`; None starts from the defaults of `TrainConfig`.
        given: fields of `TrainConfig`. A length or schedule given leaves out the preset's own, which would contradict.

    Raises:
        InvalidInput: unknown preset, or values that are out of range or contradict each other.

    Example:
        >>> from pathlib import Path
        >>> config = config_of("paper", shards=Path("shards"), out=Path("run"), steps=100, batch_size=8)
        >>> config.schedule, config.steps, config.epochs, config.batch_size
        ('plateau', 100, None, 8)
    """
    sampling = network_class(given.get("model", TrainConfig.model)).sampling
    given = {"frames": sampling.window, "crop": sampling.crop} | given
    if preset is None:
        return TrainConfig(**given)
    if preset not in PRESETS:
        raise InvalidInput(f"preset {preset!r} is unknown; use one of {', '.join(PRESETS)}")
    values = dict(PRESETS[preset])
    if given.get("steps") is not None:
        del values["epochs"]
    if given.get("lr_drop_steps") is not None:
        values["schedule"] = "step"
    return TrainConfig(**values | {"preset": preset} | given)


def summary(config: TrainConfig) -> str:
    """One line: the preset, and every value that is not the default of `TrainConfig`."""
    # what the run is before where it runs and how it reads
    ordered = sorted(fields(config), key=lambda field: field.name not in TrainConfig.__annotations__)
    changed = [
        f"{field.name} {value}"
        for field in ordered
        if field.name not in {"shards", "out", "preset", "resume"}
        and (value := getattr(config, field.name)) != field.default
    ]
    return f"preset {config.preset or 'none'}: {', '.join(changed) or 'all as by default'}"
