"""Make ``lexicon.json.gz`` of the caption parser: base forms, irregular forms and compounds.

``python recipes/caption_lexicon.py CAPTIONS.txt WORDNET_FOLDER OUT.json.gz``, where CAPTIONS.txt has one caption per
line and WORDNET_FOLDER contains WordNet 3.0's ``index.noun``, ``noun.exc`` and so on. To keep the file small, it has
only words that occur in captions or are common by WordNet's own corpus counts.
"""

from __future__ import annotations

import gzip
import itertools
import json
import re
import sys
from collections import Counter
from pathlib import Path
from typing import Any

from anytag.language.parsing.lexicon import COLORS, MATERIALS
from anytag.language.parsing.spelling import FREQUENT as CORRECTION
from anytag.language.parsing.spelling import MIN_LENGTH, one_edit_away
from anytag.language.parsing.tokens import tokenize

#: Words with at least this many uses in captions are kept, even if they are not in WordNet.
FREQUENT = 8
#: A word outside WordNet is a typo if a similar word is this many times as frequent, but not above this many uses.
TYPO_RATIO = 20
TYPO_LIMIT = 60
#: First words of pairs that are not names ("out side", "take off", "each other").
NOT_NAMES = frozenset(
    {
        "out",
        "over",
        "under",
        "each",
        "some",
        "with",
        "along",
        "far",
        "down",
        "hang",
        "take",
        "check",
        "cut",
        "run",
        "fly",
        "four",
        "six",
        "seven",
        "eight",
        "nine",
        "head",
        "long",
        "bare",
        "multi",
        "news",
        "every",
        "any",
        "home",
        "for",
        "new",
        "pin",
        "hand",
    }
)
#: Correct words that are not in WordNet and look like typos.
RIGHT = frozenset(["foosball", "boeing", "stoney", "freez"])


def base_forms(folder: Path, kind: str) -> dict[str, int]:
    """Lemmas of one part of speech with their counts in WordNet's tagged corpora."""
    forms: dict[str, int] = {}
    for line in (folder / f"index.{kind}").read_text(encoding="utf-8").splitlines():
        if line.startswith(" "):
            continue
        fields = line.split()
        # lemma pos senses pointers <pointers…> senses tagged_senses offsets…
        forms[fields[0]] = int(fields[5 + int(fields[3])])
    return forms


def irregular(folder: Path, kind: str) -> dict[str, str]:
    """Irregular forms of one part of speech: form -> lemma."""
    lines = (folder / f"{kind}.exc").read_text(encoding="utf-8").splitlines()
    return {form: lemma for form, lemma, *_ in (line.split() for line in lines) if form != lemma}


def _known_forms(folder: Path) -> set[str]:
    """Words of WordNet with their regular inflections."""
    known: set[str] = set()
    for kind in ("noun", "verb", "adj", "adv"):
        forms = {part for name in base_forms(folder, kind) for part in re.split("[_-]", name)}
        known |= forms | set(irregular(folder, kind)) if kind != "adv" else forms
        for word in forms:
            if kind in ("noun", "verb"):
                known |= {word + "s", word + "es", word[:-1] + "ies" if word.endswith("y") else word}
            if kind == "verb":
                stem = word[:-1] if word.endswith("e") else word
                double = stem + stem[-1:]
                known |= {stem + "ing", stem + "ed", double + "ing", double + "ed"}
                known |= {word + "ing", word[:-1] + "ied" if word.endswith("y") else word}
            if kind == "adj":
                stem = word[:-1] if word.endswith(("e", "y")) else word
                stem += "i" if word.endswith("y") else ""
                known |= {stem + "er", stem + "est"}
            if kind in ("noun", "verb"):
                known |= {(word[:-1] if word.endswith("e") else word) + end for end in ("er", "ers")}
    return known


def spellings(counts: Counter[str], pairs: Counter[str]) -> dict[str, str]:
    """Names written both as one word and as two in captions, with the usual spelling."""
    table: dict[str, str] = {}
    for pair in list(pairs):
        first, _, second = pair.partition(" ")
        if " " in second or min(len(first), len(second)) < 3 or not pair.replace(" ", "").isalpha():
            continue
        if (
            first in COLORS
            or first in MATERIALS
            or first in NOT_NAMES
            or (second.endswith("s") and f"{first} {second[:-1]}" in pairs)
        ):
            continue
        apart = pairs[pair] + pairs[pair + "s"]
        together = counts[first + second] + counts[first + second + "s"]
        if apart >= 3 and together >= 3:
            table[pair] = table[first + second] = pair if apart > together else first + second
    return dict(sorted(table.items()))


def main(captions: Path, wordnet: Path, out: Path) -> None:
    """Build the lexicon."""
    counts: Counter[str] = Counter()
    pairs: Counter[str] = Counter()
    capitals: Counter[str] = Counter()
    small: Counter[str] = Counter()
    for line in captions.read_text(encoding="utf-8").splitlines():
        raw = tokenize(line)
        if sum(token[0].isupper() for token in raw) < len(raw) / 2:
            # The first word and lines in capitals do not show whether a word is a name.
            capitals.update(token.lower() for token in raw[1:] if token[0].isupper())
            small.update(token for token in raw[1:] if token[0].islower())
        tokens = [token.lower() for token in raw]
        counts.update(tokens)
        pairs.update(" ".join(pair) for pair in itertools.pairwise(tokens))
        pairs.update(" ".join(run) for run in zip(tokens, tokens[1:], tokens[2:], strict=False))
    stems = {word[:length] for word in counts for length in range(max(2, len(word) - 5), len(word) + 1)}
    record: dict[str, Any] = {}
    for kind in ("noun", "verb", "adj"):
        forms = base_forms(wordnet, kind)
        single = [w for w, tagged in forms.items() if w.isalpha() and (w in counts or (tagged > 1 and len(w) > 2))]
        if kind == "verb":
            single += [w for w in forms if w.isalpha() and w not in counts and w.rstrip("e") in stems]
        record[kind + "s"] = " ".join(sorted(set(single)))
        known = set(single)
        record[kind + "_irregular"] = {
            form: lemma for form, lemma in sorted(irregular(wordnet, kind).items()) if form.isalpha() and lemma in known
        }
    compounds = (name.replace("_", " ") for name in base_forms(wordnet, "noun") if "_" in name)
    record["compounds"] = sorted(name for name in compounds if pairs[name] + pairs[name + "s"] > 0)
    record["frequent"] = {word: n for word, n in counts.most_common() if n >= FREQUENT and word.isalpha()}
    known = _known_forms(wordnet) | RIGHT
    typos = {}
    for word, n in counts.items():
        if len(word) < MIN_LENGTH or not (word.isascii() and word.isalpha()) or word in known or n > TYPO_LIMIT:
            continue
        if capitals[word] > small[word]:
            continue
        better = [c for c in one_edit_away(word) if c in known and counts[c] >= max(CORRECTION, TYPO_RATIO * n)]
        if better:
            typos[word] = max(better, key=lambda c: counts[c])
    record["typos"] = {word: better for word, better in sorted(typos.items()) if counts[word] > 1}
    record["frequent"] = {word: n for word, n in record["frequent"].items() if word not in typos}
    common = {word for word, n in counts.items() if n >= CORRECTION}
    record["protected"] = " ".join(
        sorted(
            word
            for word in known
            if word.isascii()
            and word.isalpha()
            and len(word) >= MIN_LENGTH
            and counts[word] < CORRECTION
            and any(c in common for c in one_edit_away(word))
        )
    )
    record["spellings"] = spellings(counts, pairs)
    record["proper"] = " ".join(sorted(w for w, n in capitals.items() if n > 2 and n > 1.5 * small[w]))
    out.parent.mkdir(parents=True, exist_ok=True)
    data = json.dumps(record, ensure_ascii=False, separators=(",", ":")).encode()
    out.write_bytes(gzip.compress(data, 9, mtime=0))
    print({key: len(value.split() if isinstance(value, str) else value) for key, value in record.items()})  # type: ignore[arg-type, attr-defined]


if __name__ == "__main__":
    main(*(Path(argument) for argument in sys.argv[1:4]))
