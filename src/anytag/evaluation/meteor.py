"""METEOR by NLTK, with a local WordNet; nothing is downloaded.

NLTK implements METEOR as published by Banerjee and Lavie (2005): words match if they are equal, have the same stem, or
share a meaning in WordNet (where NLTK looks up their stems, and so misses the meanings of words that differ from their
stem). The papers print figures of the later Java program (version 1.5), which also has paraphrases and word weights.
The two are not comparable, so tables name this one "METEOR (NLTK)". WordNet is read by our own reader: NLTK's needs a
file that Debian leaves out, and reads only from its own folders.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from anytag.errors import AnytagError, MissingExtraError
from anytag.evaluation.captioning import caption_words
from anytag.language.tags.wordnet import PARTS_OF_SPEECH, PartOfSpeech, WordNet

#: WordNet's own environment variables, and its folders on Debian, macOS (Homebrew) and after a build from source.
_VARIABLES = ("WNSEARCHDIR", "WNHOME")
_FOLDERS = ("/usr/share/wordnet", "/opt/homebrew/opt/wordnet/dict", "/usr/local/WordNet-3.0/dict")

#: Inflectional endings, and those of the lemma (morphy(7WN)).
_ENDINGS: dict[PartOfSpeech, tuple[tuple[str, str], ...]] = {
    "noun": (
        *(("s", ""), ("ses", "s"), ("ves", "f"), ("xes", "x"), ("zes", "z"), ("ches", "ch"), ("shes", "sh")),
        *(("men", "man"), ("ies", "y")),
    ),
    "verb": (("s", ""), ("ies", "y"), ("es", "e"), ("es", ""), ("ed", "e"), ("ed", ""), ("ing", "e"), ("ing", "")),
    "adj": (("er", ""), ("est", ""), ("er", "e"), ("est", "e")),
    "adv": (),
}


class WordNetMissingError(AnytagError):
    """There is no WordNet on this machine."""

    kind = "missing_data"


class Meteor:
    """Mean METEOR over pictures, in [0, 1], of each caption and its best matching reference.

    Raises:
        MissingExtraError: If NLTK is not installed.
        WordNetMissingError: If there is no WordNet.
    """

    def __init__(self, folder: str | Path | None = None):
        try:
            from nltk.stem.porter import PorterStemmer
            from nltk.translate.meteor_score import meteor_score
        except ImportError:
            raise MissingExtraError("METEOR", "meteor") from None
        self.folder = find_wordnet(folder)
        wordnet = _Synsets(self.folder)
        self._score: Callable[..., float] = partial(meteor_score, stemmer=PorterStemmer(), wordnet=wordnet)

    def __call__(self, candidates: Sequence[str], references: Sequence[Sequence[str]]) -> float:
        """Score captions against the references of each."""
        scores = [
            self._score([caption_words(other) for other in others], caption_words(candidate))
            for candidate, others in zip(candidates, references, strict=True)
        ]
        return sum(scores) / len(scores)


class _Synsets:
    """WordNet in the interface that NLTK expects, with a cache."""

    def __init__(self, folder: Path):
        self._wordnet, self._cache = WordNet(folder), dict[str, list[_Synset]]()
        self._exceptions = {part: dict(_irregular(folder / f"{part}.exc")) for part in PARTS_OF_SPEECH}

    def synsets(self, word: str) -> list[_Synset]:
        if word not in self._cache:
            self._cache[word] = [
                _Synset(synset.words)
                for part in PARTS_OF_SPEECH
                for form in self._forms(word, part)
                for synset in self._wordnet.synsets(form, part)
            ]
        return self._cache[word]

    def _forms(self, word: str, part: PartOfSpeech) -> list[str]:
        """Return a word and its possible lemmas, as WordNet's morphy(7WN)."""
        irregular = self._exceptions[part].get(word)
        if irregular is None:
            irregular = [word.removesuffix(end) + new for end, new in _ENDINGS[part] if word.endswith(end)]
        return list(dict.fromkeys((word, *irregular)))


@dataclass(frozen=True, slots=True)
class _Synset:
    words: tuple[str, ...]

    def lemmas(self) -> list[_Lemma]:
        return [_Lemma(word.replace(" ", "_")) for word in self.words]


@dataclass(frozen=True, slots=True)
class _Lemma:
    word: str

    def name(self) -> str:
        return self.word


def _irregular(file: Path) -> Iterator[tuple[str, list[str]]]:
    """Read irregular forms with their lemmas."""
    if file.is_file():
        for line in file.read_text(encoding="utf-8").splitlines():
            form, *lemmas = line.split()
            yield form, lemmas


def find_wordnet(folder: str | Path | None = None) -> Path:
    """Find the folder of WordNet's database files.

    Args:
        folder: That folder or its parent; ``None``: search the usual places.

    Raises:
        WordNetMissingError: If it is not there.
    """
    places = list(_places()) if folder is None else [Path(folder), Path(folder) / "dict"]
    for place in places:
        if all((place / f"{kind}.{part}").is_file() for kind in ("index", "data") for part in PARTS_OF_SPEECH):
            return place
    where = f"{folder}: no WordNet (index.noun, data.noun, ...)" if folder is not None else "there is no WordNet"
    raise WordNetMissingError(
        f"{where}, which METEOR needs; install Debian's package wordnet-base, or name the folder of its database in "
        "WNSEARCHDIR"
    )


def _places() -> Iterator[Path]:
    for name in _VARIABLES:
        if value := os.environ.get(name):
            yield from (Path(value), Path(value) / "dict")
    yield from map(Path, _FOLDERS)
    for value in os.environ.get("NLTK_DATA", "~/nltk_data").split(os.pathsep):  # Folder of nltk.download.
        yield Path(value).expanduser() / "corpora" / "wordnet"
