"""Cleaning of training captions as BLIP, Tag2Text and RAM do it (``ram/data/utils.py``).

The official function takes only blanks for white space. A single tab or line break stays in the text, and the words on
both its sides count as one. By default every run of white space is one blank; ``official=True`` keeps to the letter.
"""

from __future__ import annotations

import re

from anytag.errors import UsageError

#: Marks that do not belong to a caption; commas, question marks, apostrophes and hyphens do.
_MARKS = re.compile(r'[.!"()*#:;~]')
_LONG_SPACE = re.compile(r"\s{2,}")


def pre_caption(text: str, max_words: int = 50, *, official: bool = False) -> str:
    """A caption in lower case, its marks replaced by blanks, with at most ``max_words`` words.

    Args:
        text: A caption as it was written.
        max_words: Words to keep, 1 or more; 50 is the official default, training uses 30.
        official: As in the official code: a single tab or line break inside stays, and so does one tab at an end.

    Raises:
        UsageError: If no word would be kept.
    """
    if max_words < 1:
        raise UsageError(f"max_words is {max_words}; at least one word must be kept")
    text = _MARKS.sub(" ", text.lower())
    if not official:
        return " ".join(text.split()[:max_words])
    text = _LONG_SPACE.sub(" ", text).rstrip("\n").strip(" ")
    return " ".join(text.split(" ")[:max_words])
