"""Parquet files that contain pictures or their paths: each row is a sample."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from anytag.datasets.records import choose_columns, to_sample
from anytag.datasets.samples import Sample
from anytag.datasets.sources import PartedSource
from anytag.errors import SampleError, UsageError, needs_extra
from anytag.foundations.wording import counted

#: Row groups in memory, since neighboring rows are often read together.
_KEPT_GROUPS = 4


class ParquetSource(PartedSource):
    """The rows of Parquet files; a part is a row group.

    Parquet is read by row groups: if groups hold thousands of pictures, an exact shuffle reads thousands for each, and
    a shuffle by windows is better.

    Args:
        paths: Files with the same columns, in order.
        columns: Columns by role; see :func:`~anytag.datasets.records.choose_columns`. Pictures may be bytes, paths, or
            Hugging Face's pairs of both.
        images: Folder of relative picture paths; ``None``: that of the first file.

    Raises:
        MissingExtraError: Without pyarrow (``pip install 'anytag[parquet]'``).
        UsageError: If a file cannot be read, or its columns are not understood.
    """

    def __init__(
        self,
        paths: str | Path | Sequence[str | Path],
        *,
        columns: Mapping[str, Any] | None = None,
        images: str | Path | None = None,
    ):
        self.paths = [Path(path) for path in ([paths] if isinstance(paths, str | Path) else paths)]
        if not self.paths:
            raise UsageError("no Parquet file was given")
        counts: list[int] = []
        self._groups: list[tuple[int, int]] = []
        names: list[str] = []
        for number, path in enumerate(self.paths):
            with _open(path) as file:
                names = names or list(file.schema_arrow.names)
                if missing := [name for name in names if name not in file.schema_arrow.names]:
                    raise UsageError(f"{path}: no column {missing[0]!r}, which {self.paths[0].name} has")
                for group in range(file.num_row_groups):
                    counts.append(file.metadata.row_group(group).num_rows)
                    self._groups.append((number, group))
        self._set_sizes(counts)
        if not len(self):
            raise UsageError(f"{self.paths[0]}: the table is empty")
        self.columns = choose_columns(names, columns, str(self.paths[0]))
        # A column may have several roles.
        used = (self.columns.picture, *self.columns.captions, *self.columns.tags, *self.columns.labels)
        self._used = list(dict.fromkeys(n for n in (*used, self.columns.boxes, self.columns.id) if n is not None))
        self.folder = Path(images) if images is not None else self.paths[0].parent
        self._set_up()
        more = f" and {len(self.paths) - 1} more" if len(self.paths) > 1 else ""
        self.description = (
            f"Parquet {self.paths[0]}{more}: {counted(len(self), 'row')} in {counted(len(counts), 'row group')} "
            f"of up to {max(counts):,}, {self.columns}"
        )
        self.identity = f"parquet {self.paths[0].name} and {len(self.paths) - 1} more: {len(self)}"

    def content_files(self) -> Iterable[Path]:
        return self.paths

    def __getitem__(self, index: int) -> Sample:
        part, row = self._place(index)
        file, group = self._groups[part]
        source = f"{self.paths[file].name}:group {group + 1} row {row + 1}"
        try:
            record = self._read_group(part).slice(row, 1).to_pylist()[0]
        except (OSError, ValueError, UsageError) as error:
            raise SampleError("unreadable", f"the row group cannot be read ({error})", source) from error
        return to_sample(record, self.columns, source, self.folder, str(index))

    def _read_group(self, part: int) -> Any:
        with self._lock:
            table = self._tables.get(part)
            if table is None:
                file, group = self._groups[part]
                with _open(self.paths[file]) as opened:
                    table = opened.read_row_group(group, columns=self._used)
                self._tables[part] = table
                while len(self._tables) > _KEPT_GROUPS:
                    self._tables.popitem(last=False)
            self._tables.move_to_end(part)
            return table

    def _set_up(self) -> None:
        self._lock = threading.Lock()
        self._tables: OrderedDict[int, Any] = OrderedDict()

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if name not in ("_lock", "_tables")}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._set_up()


def _open(path: Path) -> Any:
    with needs_extra("reading Parquet", "parquet"):
        import pyarrow.parquet
    try:
        return pyarrow.parquet.ParquetFile(path)
    except (OSError, ValueError) as error:
        raise UsageError(f"{path}: not a Parquet file that can be read ({error})") from error
