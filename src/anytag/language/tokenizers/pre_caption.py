"""Clean training captions like BLIP, Tag2Text and RAM (``ram/data/utils.py``).

The official function splits only at blanks: a single tab or line break stays, and joins its neighbors to one word. By
default every run of white space becomes one blank; ``official=True`` reproduces the official behavior.
"""

from __future__ import annotations

import re

from anytag.errors import UsageError

#: Removed marks; commas, question marks, apostrophes and hyphens are kept.
_MARKS = re.compile(r'[.!"()*#:;~]')
_LONG_SPACE = re.compile(r"\s{2,}")


def pre_caption(text: str, max_words: int = 50, *, official: bool = False) -> str:
    """Return a caption in lower case, without marks, truncated to ``max_words`` words.

    Args:
        text: The caption.
        max_words: 1 or more; 50 is the official default, training uses 30.
        official: Keep a single tab or line break inside, and one tab at an end, like the official code.

    Raises:
        UsageError: If ``max_words`` is less than 1.
    """
    if max_words < 1:
        raise UsageError(f"max_words is {max_words}; at least one word must be kept")
    text = _MARKS.sub(" ", text.lower())
    if not official:
        return " ".join(text.split()[:max_words])
    text = _LONG_SPACE.sub(" ", text).rstrip("\n").strip(" ")
    return " ".join(text.split(" ")[:max_words])
