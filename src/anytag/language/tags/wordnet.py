"""Read WordNet 3.0's database files, to review the tables of names and to describe tags.

The package neither ships WordNet nor needs it to recognize pictures, since merging names by WordNet alone is noisy.
Format: wndb(5WN). Debian has the files in the package ``wordnet-base``.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from anytag.errors import VocabularyError

PartOfSpeech = Literal["noun", "verb", "adj", "adv"]

PARTS_OF_SPEECH: tuple[PartOfSpeech, ...] = ("noun", "verb", "adj", "adv")

_LETTERS = {"noun": "n", "verb": "v", "adj": "a", "adv": "r"}
#: Pointers to more general synsets: hypernym, and class of an instance ("Big Ben": "bell").
_GENERAL = ("@", "@i")


@dataclass(frozen=True, slots=True)
class Synset:
    """Words with one meaning.

    Attributes:
        offset: Offset in its data file; with the part's letter, its id.
        words: Lower case, with blanks for underscores, most common first.
        hypernyms: Offsets of the next more general synsets of the same part of speech.
    """

    part: PartOfSpeech
    offset: int
    words: tuple[str, ...]
    gloss: str
    hypernyms: tuple[int, ...]

    @property
    def id(self) -> str:
        """The id in ImageNet's form: ``n02084071``."""
        return f"{_LETTERS[self.part]}{self.offset:08d}"


class WordNet:
    """Lemmas, synsets and hypernyms in a database folder.

    Args:
        folder: Contains ``index.*`` and ``data.*`` (on Debian ``/usr/share/wordnet``).

    Raises:
        VocabularyError: If a file is missing.
    """

    def __init__(self, folder: str | Path):
        self.folder = Path(folder)
        self._data: dict[PartOfSpeech, bytes] = {}
        self._index: dict[PartOfSpeech, dict[str, tuple[int, ...]]] = {}
        for part in PARTS_OF_SPEECH:
            for file in (f"data.{part}", f"index.{part}"):
                if not (self.folder / file).is_file():
                    raise VocabularyError(
                        f"{self.folder}: no WordNet database there ({file} is missing); "
                        "on Debian, install wordnet-base and use /usr/share/wordnet"
                    )

    def synsets(self, lemma: str, part: PartOfSpeech = "noun") -> list[Synset]:
        """Return the senses of a lemma, most frequent first; empty if WordNet lacks it."""
        if part not in self._index:
            self._index[part] = dict(self._read_index(part))
        offsets = self._index[part].get(lemma.lower().replace(" ", "_"), ())
        return [self.synset(offset, part) for offset in offsets]

    def synset(self, offset: int, part: PartOfSpeech = "noun") -> Synset:
        """Return the synset at an offset.

        Raises:
            VocabularyError: If there is none.
        """
        if part not in self._data:
            self._data[part] = (self.folder / f"data.{part}").read_bytes()
        data = self._data[part]
        end = data.find(b"\n", offset)
        fields, _, gloss = data[offset : end if end >= 0 else None].decode("utf-8").partition("|")
        cells = fields.split()
        if len(cells) < 5 or cells[0] != f"{offset:08d}":
            raise VocabularyError(f"{self.folder}: there is no {part} synset at {offset}")
        # offset, file number, type, word count (hexadecimal), then word and sense number for each word, pointer
        # count, then symbol, offset, part and source/target for each pointer.
        count = int(cells[3], 16)
        words = tuple(_word(cell) for cell in cells[4 : 4 + 2 * count : 2])
        at = 4 + 2 * count
        pointers = [cells[at + 1 + 4 * n : at + 5 + 4 * n] for n in range(int(cells[at]))]
        hypernyms = tuple(int(pointer[1]) for pointer in pointers if pointer[0] in _GENERAL)
        return Synset(part, offset, words, gloss.strip(), hypernyms)

    def ancestors(self, synset: Synset) -> list[Synset]:
        """Return all more general synsets, nearest first, without duplicates."""
        found: dict[int, Synset] = {}
        level = [synset]
        while level:
            above = [self.synset(offset, synset.part) for one in level for offset in one.hypernyms]
            level = [one for one in {one.offset: one for one in above}.values() if one.offset not in found]
            found.update((one.offset, one) for one in level)
        return list(found.values())

    def _read_index(self, part: PartOfSpeech) -> Iterator[tuple[str, tuple[int, ...]]]:
        with (self.folder / f"index.{part}").open(encoding="utf-8") as lines:
            for line in lines:
                if not line.startswith(" "):  # the license at the top is indented
                    cells = line.split()
                    yield cells[0], tuple(int(offset) for offset in cells[len(cells) - int(cells[2]) :])


def _word(cell: str) -> str:
    return cell.partition("(")[0].replace("_", " ").lower()  # adjectives carry markers such as "(p)"
