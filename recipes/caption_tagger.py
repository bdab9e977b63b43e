"""Distill the light tagger of the caption parser from spaCy.

``python recipes/caption_tagger.py tag CAPTIONS.txt TAGGED.jsonl`` tags captions, one per line, with spaCy (2,000 per
second). ``python recipes/caption_tagger.py train TAGGED.jsonl OUT.json.gz`` trains on the result (some minutes on one
core). Leave the captions of the gold set out of CAPTIONS.txt.
"""

from __future__ import annotations

import gzip
import json
import random
import sys
from collections import Counter, defaultdict
from collections.abc import Iterator
from pathlib import Path

from anytag.language.parsing.light_tagger import _CLAUSE, _FINITE, TAGS, LightTagger, features, guess
from anytag.language.parsing.repairs import repair_tags
from anytag.language.parsing.tokens import tokenize

EPOCHS = 4
#: Words with fewer uses count as unknown, so that the model learns to tag unknown words.
KNOWN = 4
#: Tags with a smaller share of a word's uses count as noise.
NOISE = 0.01
#: One caption in this many is held out to measure agreement.
HELD_OUT = 50
_SAME = {
    "NNPS": "NNP", "JJR": "JJ", "JJS": "JJ", "VBP": "VB", "PDT": "DT", "WDT": "WP", "WP$": "PRP$", "RBR": "RB",
    "RBS": "RB", "WRB": "RB", "FW": "NN", "UH": "NN", "AFX": "JJ", "HYPH": ".", ":": ",", "NFP": ".", "LS": "CD",
    "XX": "NN", "ADD": "NN", "''": ".", "``": ".", "-LRB-": ".", "-RRB-": ".", "$": ".", "SYM": ".",
}  # fmt: skip

Sentence = tuple[list[str], list[str]]


def tag(captions: Path, out: Path) -> None:
    """Tag a file of captions with spaCy."""
    from anytag.language.parsing.spacy_tagger import SpacyTagger

    lines = captions.read_text(encoding="utf-8").splitlines()
    sentences = (words for words in map(tokenize, lines) if words)
    with out.open("w", encoding="utf-8") as file:
        for words, tags in SpacyTagger(repair=False).tag_many(sentences):
            file.write(json.dumps([words, tags], ensure_ascii=False) + "\n")


def read(path: Path) -> Iterator[Sentence]:
    """Words and simplified tags."""
    with path.open(encoding="utf-8") as file:
        for line in file:
            words, tags = json.loads(line)
            yield words, simplify(tags)


def simplify(tags: list[str]) -> list[str]:
    """Map Penn tags to the light tagger's coarser set."""
    return [_SAME.get(tag, tag) for tag in tags]


def count_tags(sentences: list[Sentence]) -> dict[str, dict[str, float]]:
    """Share of each tag among the uses of every known word."""
    counts: defaultdict[str, Counter[str]] = defaultdict(Counter)
    for words, tags in sentences:
        for word, tag in zip(words, tags, strict=True):
            counts[word.lower()][tag] += 1
    shares: dict[str, dict[str, float]] = {}
    for word, tally in counts.items():
        total = sum(tally.values())
        if total >= KNOWN:
            kept = {tag: n / total for tag, n in tally.most_common() if n / total >= NOISE and (n > 1 or total < 20)}
            shares[word] = kept or {tally.most_common(1)[0][0]: 1.0}
    return shares


def train(tagged: Path, out: Path) -> None:
    """Train the tagger and write it."""
    sentences = list(read(tagged))
    for _ in range(2):
        # Twice: the repaired counts improve the second repair.
        shares = count_tags(sentences)
        sentences = [
            (words, simplify(repair_tags([w.lower() for w in words], tags, shares))) for words, tags in sentences
        ]
    shares = count_tags(sentences)
    index = {name: place for place, name in enumerate(TAGS)}
    lexicon = {word: tuple(index[tag] for tag in kept) for word, kept in shares.items()}
    random.Random(0).shuffle(sentences)
    held, rest = sentences[::HELD_OUT], [s for place, s in enumerate(sentences) if place % HELD_OUT]
    weights = _Averaged()
    for epoch in range(EPOCHS):
        random.Random(epoch + 1).shuffle(rest)
        wrong = total = 0
        for words, tags in rest:
            gold = [index[tag] for tag in tags]
            bad, seen = _learn(words, gold, lexicon, weights)
            wrong, total = wrong + bad, total + seen
        print(f"epoch {epoch + 1}: {wrong / total:.4f} of {total} open choices wrong", flush=True)
    final = weights.averaged()
    record = {
        "lexicon": {
            word: " ".join(f"{index[tag]}:{round(100 * share) if len(kept) > 1 else ''}" for tag, share in kept.items())
            for word, kept in sorted(shares.items())
        },
        "weights": {
            name: " ".join(f"{place}:{value}" for place, value in sorted(row.items()))
            for name, row in sorted(final.items())
        },
    }
    data = gzip.compress(json.dumps(record, ensure_ascii=False, separators=(",", ":")).encode(), 9, mtime=0)
    out.write_bytes(data)
    print(f"{len(lexicon)} words, {len(final)} features, {len(data)} bytes")
    tagger = LightTagger(
        lexicon, {name: {tag: float(w) for tag, w in row.items()} for name, row in final.items()}, shares
    )
    pairs = [(a, b) for words, tags in held for a, b in zip(tagger.tag(words), tags, strict=True)]
    print(f"agreement on held-out captions: {sum(a == b for a, b in pairs) / len(pairs):.4f}")


class _Averaged:
    """Perceptron weights with their mean over all steps."""

    def __init__(self) -> None:
        self.now: defaultdict[str, dict[int, int]] = defaultdict(dict)
        self._total: defaultdict[str, dict[int, int]] = defaultdict(dict)
        self._changes: Counter[str] = Counter()
        self.step = 0

    def add(self, name: str, tag: int, value: int) -> None:
        row, total = self.now[name], self._total[name]
        row[tag] = row.get(tag, 0) + value
        # sum over steps = w * steps - total, with total = sum of value * step of the update
        total[tag] = total.get(tag, 0) + value * self.step
        self._changes[name] += 1

    def averaged(self, changes: int = 4, scale: int = 20) -> dict[str, dict[int, int]]:
        """Return mean weights as small integers, without features that hardly matter."""
        result: dict[str, dict[int, int]] = {}
        for name, row in self.now.items():
            if self._changes[name] < changes:
                continue
            mean = {tag: round(scale * (w - self._total[name][tag] / self.step)) for tag, w in row.items()}
            kept = {tag: value for tag, value in mean.items() if abs(value) > 2}
            if kept:
                result[name] = kept
        return result


def _learn(
    words: list[str], gold: list[int], lexicon: dict[str, tuple[int, ...]], weights: _Averaged
) -> tuple[int, int]:
    """Tag one caption and correct the weights where the tag is wrong."""
    lower = [word.lower() for word in words]
    choices = [lexicon.get(word) or guess(raw, word) for raw, word in zip(words, lower, strict=True)]
    before: list[int] = []
    finite = False
    wrong = total = 0
    for place, options in enumerate(choices):
        best = options[0]
        if len(options) > 1:
            weights.step += 1
            total += 1
            on = features(words, lower, choices, before, place, finite, lower[place] in lexicon)
            scores = dict.fromkeys(options, 0)
            for name in on:
                row = weights.now.get(name)
                if row:
                    for tag in options:
                        scores[tag] += row.get(tag, 0)
            best = max(options, key=scores.__getitem__)
            truth = gold[place]
            if best != truth and truth in options:
                wrong += 1
                for name in on:
                    weights.add(name, truth, 1)
                    weights.add(name, best, -1)
        before.append(best)
        if best in _FINITE:
            finite = True
        elif lower[place] in _CLAUSE:
            finite = False
    return wrong, total


if __name__ == "__main__":
    {"tag": tag, "train": train}[sys.argv[1]](Path(sys.argv[2]), Path(sys.argv[3]))
