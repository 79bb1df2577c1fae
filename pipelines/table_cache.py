"""Clip tables kept in a cache folder: opening 10,000 shards takes most of a minute, and far more over a network."""

import hashlib
import json
import logging
from collections.abc import Callable, Sequence
from dataclasses import asdict
from io import BytesIO
from typing import Any
from zipfile import BadZipFile

import numpy as np

from pipelines.cache import ShardCache
from preprocess.errors import BadShard
from preprocess.shards import ClipTable, ShardAttributes, ShardInfo
from preprocess.shards.layout import COLUMNS
from preprocess.shards.store import SetTable

logger = logging.getLogger(__name__)

_FORMAT = 1


def cached_table(cache: ShardCache, infos: Sequence[ShardInfo], read: Callable[[], SetTable]) -> SetTable:
    """The table of these shards from the cache, or read and kept there.

    A table with a shard that could not be read is not kept: the next one to ask may be able to. Where the cache takes
    or gives nothing, as when the disk is full, it goes on without it and says so.

    Args:
        cache: where tables are kept.
        infos: of the shards; their hashes are the table's name.
        read: reads the table from the shards.
    """
    described = json.dumps([_FORMAT, [asdict(info) for info in infos]], sort_keys=True)
    name = hashlib.sha256(described.encode()).hexdigest()
    try:
        content = cache.table(name)
    except OSError as error:
        logger.warning("the clip table %s cannot be read from %s (%s) and is read anew", name, cache.folder, error)
        content = None
    if content is not None:
        try:
            return _unpacked(content)
        except (ValueError, KeyError, TypeError, OSError, EOFError, RuntimeError, BadZipFile, BadShard) as error:
            logger.warning("the clip table %s in %s is damaged (%r) and read anew", name, cache.folder, error)
    table = read()
    if not table.bad:
        try:
            cache.put_table(name, _packed(table))
        except OSError as error:
            logger.warning("the clip table %s cannot be kept in %s: %s", name, cache.folder, error)
    return table


def _packed(table: SetTable) -> bytes:
    arrays: dict[str, Any] = {f"clips_{name}": getattr(table.clips, name) for name in COLUMNS}
    # the plain type: HDF5 gives strings one with a note on it, which cannot be stored
    arrays["clips_key"] = table.clips.key.astype(table.clips.key.dtype.str)
    arrays |= {"shard": table.shard, "row": table.row, "places": table.places}
    arrays["attributes"] = np.array(json.dumps(table.attributes.to_hdf5()))
    content = BytesIO()
    np.savez(content, **arrays)
    return content.getvalue()


def _unpacked(content: bytes) -> SetTable:
    with np.load(BytesIO(content), allow_pickle=False) as stored:
        return SetTable(
            attributes=ShardAttributes.from_hdf5(json.loads(str(stored["attributes"])), source="cached clip table"),
            clips=ClipTable(**{name: stored[f"clips_{name}"] for name in COLUMNS}),
            shard=stored["shard"],
            row=stored["row"],
            places=stored["places"],
            bad={},
        )
