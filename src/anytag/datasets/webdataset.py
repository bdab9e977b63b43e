"""WebDataset shards: tar files whose members sharing a stem make one sample."""

from __future__ import annotations

import json
import tarfile
from collections.abc import Iterator
from pathlib import Path

from anytag.datasets.samples import Sample

#: Extensions that hold a picture; what Pillow reads of them is up to :mod:`anytag.pictures`.
PICTURE_EXTENSIONS = frozenset({"jpg", "jpeg", "png", "webp", "avif", "gif", "bmp", "tif", "tiff"})


def read_shard(path: str | Path) -> Iterator[Sample]:
    """Yield the samples of one shard in file order.

    A sample needs a picture member; captions come from ``.json`` (keys ``caption`` or ``captions``) or
    ``.txt`` members of the same stem, human labels from the JSON key ``categories``.

    Args:
        path: A tar file, compressed or not.

    Yields:
        One :class:`Sample` per stem that has a picture.
    """
    stem: str | None = None
    members: dict[str, bytes] = {}
    with tarfile.open(path, "r|*") as archive:
        for member in archive:
            if not member.isfile():
                continue
            name, _, extension = member.name.rpartition(".")
            if name != stem:
                if sample := _to_sample(path, stem, members):
                    yield sample
                stem, members = name, {}
            handle = archive.extractfile(member)
            members[extension.lower()] = handle.read() if handle else b""
    if sample := _to_sample(path, stem, members):
        yield sample


def _to_sample(path: str | Path, stem: str | None, members: dict[str, bytes]) -> Sample | None:
    extension = next((e for e in members if e in PICTURE_EXTENSIONS), None)
    if stem is None or extension is None:
        return None
    record = json.loads(members["json"]) if "json" in members else {}
    captions = record.get("captions") or ([record["caption"]] if record.get("caption") else [])
    if not captions and "txt" in members:
        captions = [line for line in members["txt"].decode("utf-8").splitlines() if line.strip()]
    return Sample(
        id=str(record.get("id", stem)),
        picture=members[extension],
        captions=tuple(captions),
        labels=tuple(record.get("categories", ())),
        source=f"{Path(path).name}:{stem}.{extension}",
    )
