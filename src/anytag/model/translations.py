"""Names of tags in other languages, by tag and so by sense, not by word."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path

from anytag.errors import VocabularyError
from anytag.model.names import normalize_name

#: Beside ``vocabulary.json``: a header ``name,kind,de,es,…``, then one row per tag; empty cells: no name.
TRANSLATIONS_FILE = "translations.csv"


class Translations:
    """Names of a vocabulary's tags, by language code and tag id."""

    def __init__(self, names: Mapping[str, Mapping[int, str]]):
        self._names = {code: dict(of_tags) for code, of_tags in sorted(names.items()) if of_tags}

    @property
    def languages(self) -> dict[str, int]:
        """Language codes, with the number of tags that have a name."""
        return {code: len(names) for code, names in self._names.items()}

    def names(self, language: str) -> dict[int, str]:
        """Names in one language by tag id; empty if there are none."""
        return dict(self._names.get(language, {}))

    def of(self, id: int) -> dict[str, str]:
        """One tag's names, by language code."""
        return {code: names[id] for code, names in self._names.items() if id in names}

    def find(self, name: str, language: str | None = None) -> tuple[int, ...]:
        """Ids of the tags with a name, ignoring case, in any language or in one."""
        found = self._ids.get(normalize_name(name), ())
        return tuple(dict.fromkeys(id for code, id in found if language in (None, code)))

    @cached_property
    def _ids(self) -> dict[str, list[tuple[str, int]]]:
        ids: dict[str, list[tuple[str, int]]] = {}
        for code, names in self._names.items():
            for id, name in names.items():
                ids.setdefault(normalize_name(name), []).append((code, id))
        return ids


def read_translations(path: Path) -> dict[tuple[str, str], dict[str, str]]:
    """Read a table: names by language code, for each tag's name and kind.

    Raises:
        VocabularyError: If the file cannot be read or is malformed.
    """
    try:
        with path.open(encoding="utf-8", newline="") as handle:
            header, *rows = list(csv.reader(handle))
    except (OSError, ValueError, csv.Error) as error:
        raise VocabularyError(f"{path}: the names in other languages cannot be read ({error})") from None
    if header[:2] != ["name", "kind"] or not header[2:]:
        raise VocabularyError(f"{path}: the first line is {','.join(header)!r:.60}, not name,kind and language codes")
    for number, row in enumerate(rows, 2):
        if len(row) != len(header):
            raise VocabularyError(f"{path}: line {number} has {len(row)} cells, but the header has {len(header)}")
    return {
        (name, kind): {code: cell for code, cell in zip(header[2:], cells, strict=True) if cell}
        for name, kind, *cells in rows
    }
