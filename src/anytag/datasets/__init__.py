"""Training data in: every source gives the same samples, and one stream shuffles, divides and resumes them.

:func:`open_source` opens a folder, a table, JSON, COCO, shards, Parquet or an official list; :class:`SampleStream`
reads any number of them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from anytag.datasets.bad_samples import JsonLinesLog
    from anytag.datasets.loading import Loaded, load_picture
    from anytag.datasets.opening import open_source
    from anytag.datasets.samples import Box, Sample, TagName
    from anytag.datasets.sources import IndexedSource, SampleSource
    from anytag.datasets.stream import SampleStream, merge_states

#: Commands that read one shard should not wait for all of it: a name is imported when it is first used.
_HOMES = {
    "Box": "samples",
    "IndexedSource": "sources",
    "JsonLinesLog": "bad_samples",
    "Loaded": "loading",
    "Sample": "samples",
    "SampleSource": "sources",
    "SampleStream": "stream",
    "TagName": "samples",
    "load_picture": "loading",
    "merge_states": "stream",
    "open_source": "opening",
}

__all__ = [
    "Box",
    "IndexedSource",
    "JsonLinesLog",
    "Loaded",
    "Sample",
    "SampleSource",
    "SampleStream",
    "TagName",
    "load_picture",
    "merge_states",
    "open_source",
]


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        from importlib import import_module

        return getattr(import_module(f"anytag.datasets.{_HOMES[name]}"), name)
    raise AttributeError(f"module 'anytag.datasets' has no attribute {name!r}")
