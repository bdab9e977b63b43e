"""Training data: sources of samples, and a stream that shuffles, divides and resumes them.

:func:`open_source` opens a folder, a table, JSON, COCO, shards, Parquet or an official list; :class:`SampleStream`
reads any number of them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from anytag.datasets.bad_samples import JsonLinesLog as JsonLinesLog
    from anytag.datasets.opening import open_source as open_source
    from anytag.datasets.samples import Box as Box
    from anytag.datasets.samples import Sample as Sample
    from anytag.datasets.samples import TagName as TagName
    from anytag.datasets.sources import IndexedSource as IndexedSource
    from anytag.datasets.sources import SampleSource as SampleSource
    from anytag.datasets.stream import Loaded as Loaded
    from anytag.datasets.stream import SampleStream as SampleStream
    from anytag.datasets.stream import load_picture as load_picture
    from anytag.datasets.stream import merge_states as merge_states

#: The module of each name. Names are imported at their first use, so that reading one shard does not import all of it.
_MODULES = {
    "Box": "samples",
    "IndexedSource": "sources",
    "JsonLinesLog": "bad_samples",
    "Loaded": "stream",
    "Sample": "samples",
    "SampleSource": "sources",
    "SampleStream": "stream",
    "TagName": "samples",
    "load_picture": "stream",
    "merge_states": "stream",
    "open_source": "opening",
}

__all__ = list(_MODULES)


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        from importlib import import_module

        return getattr(import_module(f"anytag.datasets.{_MODULES[name]}"), name)
    raise AttributeError(f"module 'anytag.datasets' has no attribute {name!r}")
