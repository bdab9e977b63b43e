"""Split captions into tokens, the same way for every tagger."""

from __future__ import annotations

import re
import unicodedata

# A clitic, a word with inner apostrophes and hyphens ("t-shirt", "o'clock"), a number, or another character.
_TOKEN = re.compile(r"(?<!\w)'(?:s|re|ve|ll|d|m)\b|[^\W\d_]+(?:['-][^\W_]+)*|\d[\w.,:/-]*\w|\d|[^\w\s]")
_QUOTES = str.maketrans(
    {"’": "'", "‘": "'", "`": "'", "“": '"', "”": '"', "‐": "-", "‑": "-", "–": "-", "—": "-", "_": " "}
)
_CLITICS = ("n't", "'s", "'re", "'ve", "'ll", "'d", "'m", "'")
#: Longer captions are truncated, so that no text can make a worker hang.
MAX_CHARACTERS = 10_000


def tokenize(caption: str) -> list[str]:
    """Split a caption into words, numbers and punctuation.

    Clitics are split off ("man's" -> "man", "'s"), and so are colors joined by "and" ("black-and-white"); other
    hyphenated words stay whole ("t-shirt", "long-sleeved"). Tokens keep their case; typographic quotes and dashes
    become plain ones. Only the first 10,000 characters are read.
    """
    text = caption[:MAX_CHARACTERS]
    if not text.isascii():
        text = unicodedata.normalize("NFKC", text).translate(_QUOTES)
    elif "`" in text or "_" in text:
        text = text.translate(_QUOTES)
    tokens: list[str] = _TOKEN.findall(text)
    if "'" not in text and "-" not in text:
        return tokens
    result: list[str] = []
    for token in tokens:
        if len(token) == 1:
            result.append(token)
            continue
        word, clitic = _split_clitic(token) if "'" in token else (token, "")
        if "-and-" in word.lower() or "-n-" in word.lower():
            result.extend(part for part in word.split("-") if part)
        else:
            result.append(word)
        if clitic:
            result.append(clitic)
    return result


def _split_clitic(token: str) -> tuple[str, str]:
    lower = token.lower()
    for clitic in _CLITICS:
        if lower.endswith(clitic) and len(lower) > len(clitic):
            return token[: -len(clitic)], token[-len(clitic) :]
    return token, ""
