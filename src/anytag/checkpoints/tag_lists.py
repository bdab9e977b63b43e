"""Turn the tag lists of official models into vocabularies."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

from anytag.errors import ModelError
from anytag.language.tags.kinds import guess_kinds
from anytag.model.families import THRESHOLDS
from anytag.model.vocabulary import TagVocabulary, VocabularyTag

#: Tags, by position and name, that the authors of Tag2Text drop from all results: counts and vague words.
TAG2TEXT_LEFT_OUT = {
    127: "quarter", 2961: "back", 3351: "two", 3265: "three", 3338: "four", 3355: "five", 3359: "one",
}  # fmt: skip

#: Tags of that list with a separate threshold.
TAG2TEXT_STRICTER = {1167: "woman", 2701: "person", 2828: "man"}

#: In the official code scores must exceed thresholds, so a score of 1 must not reach a threshold of 1.
_NEVER = math.nextafter(1.0, 2.0)


def read_list(path: Path, what: str) -> list[str]:
    """Read the stripped lines of a UTF-8 file, without blank lines at the end.

    Raises:
        ModelError: If the file is missing, not text, empty, or has a blank line before its end.
    """
    try:
        lines = [line.strip() for line in path.read_text(encoding="utf-8-sig").splitlines()]
    except FileNotFoundError:
        raise ModelError(f"{path}: no such {what}") from None
    except (UnicodeDecodeError, OSError) as error:
        raise ModelError(f"{path}: not a readable {what} ({error})") from None
    while lines and not lines[-1]:
        lines.pop()
    if not lines:
        raise ModelError(f"{path}: the {what} is empty")
    if "" in lines:
        raise ModelError(f"{path}: line {lines.index('') + 1} of the {what} is blank; every id needs its entry")
    return lines


def official_vocabulary(
    family: str,
    names: Sequence[str],
    chinese: Sequence[str] | None = None,
    thresholds: Sequence[str] | None = None,
    thresholds_from: str | None = None,
) -> TagVocabulary:
    """Create a vocabulary whose ids are positions in the official list.

    Kinds are guessed from the words. Two entries with the same name are different senses ("train", "to train"), so they
    get different kinds.

    Args:
        family: Determines default thresholds.
        thresholds: Numbers as text, one per tag.

    Raises:
        ModelError: If lists differ in length, or a threshold is not a number between 0 and 1.
    """
    for other, what in ((chinese, "Chinese tag list"), (thresholds, "threshold list")):
        if other is not None and len(other) != len(names):
            raise ModelError(f"the {what} has {len(other)} entries, the tag list {len(names)}; they must correspond")
    tags = []
    for place, (name, kind) in enumerate(zip(names, guess_kinds(names), strict=True)):
        threshold, source = _threshold(family, place, name, thresholds[place] if thresholds else None)
        if thresholds and source is None:
            source = thresholds_from or "a list"
        tags.append(
            VocabularyTag(
                id=place,
                name=name,
                kind=kind,
                threshold=threshold,
                threshold_from=source,
                sources=("official",),
                translations=(("zh", chinese[place]),) if chinese else (),
            )
        )
    return TagVocabulary(tags)


def _threshold(family: str, place: int, name: str, given: str | None) -> tuple[float, str | None]:
    if given is not None:
        try:
            value = float(given)
        except ValueError:
            value = math.nan
        if not 0 <= value <= 1:
            raise ModelError(f"line {place + 1} of the threshold list is {given!r}, not a number between 0 and 1")
        return (value if value < 1 else _NEVER), None
    if family != "tag2text":
        return THRESHOLDS[family], "RAM's most frequent threshold"
    if TAG2TEXT_LEFT_OUT.get(place) == name:
        return _NEVER, "left out by the authors: a count, or too vague"
    if TAG2TEXT_STRICTER.get(place) == name:
        return 0.70, "Tag2Text's own"
    return THRESHOLDS[family], "Tag2Text's own"
