"""Parquet: the same fields as the JSON lines, for data frames and databases (extra ``parquet``)."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from anytag.errors import needs_extra
from anytag.foundations.atomic_files import whole_file
from anytag.writers.records import PictureRecord
from anytag.writers.tables import shown

#: Records in a row group: what memory holds of them.
_ROWS = 10_000


@dataclass(frozen=True)
class ParquetTable:
    """A row a picture, tags as a list of structs."""

    name: str = "parquet"
    filename: str = "tags.parquet"

    def write(self, records: Iterable[PictureRecord], target: Path) -> None:
        """See :class:`~anytag.writers.tables.TableWriter`.

        Raises:
            MissingExtraError: If pyarrow is not installed.
        """
        with needs_extra("writing Parquet", "parquet"):
            import pyarrow as arrow
            import pyarrow.parquet as parquet
        tag = arrow.struct(
            [
                ("name", arrow.string()),
                ("score", arrow.float32()),
                ("kind", arrow.string()),
                ("threshold", arrow.float32()),
            ]
        )
        texts = [(name, arrow.string()) for name in ("caption", "model", "version", "time")]
        schema = arrow.schema([("path", arrow.string()), ("tags", arrow.list_(tag)), *texts])
        with whole_file(target) as part, parquet.ParquetWriter(part, schema) as file:
            rows = map(_row, records)
            while group := list(islice(rows, _ROWS)):
                file.write_table(arrow.Table.from_pylist(group, schema=schema))


def _row(record: PictureRecord) -> dict[str, Any]:
    return {**record.writable().to_json(), "path": shown(record.path)}
