"""Tag descriptions, which RAM++ asks for a tag with: by a language model, or from WordNet and templates.

RAM++ has 51 a tag: "a photo of a …", and ten answers of GPT-3.5 to each of five questions (Huang et al., 2023, section
3.3). Any model behind an OpenAI-compatible address can write them.
"""

from __future__ import annotations

import datetime
import os
import re
import warnings
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor

from anytag.errors import UsageError
from anytag.language.label_texts.chat_endpoint import ChatEndpoint
from anytag.language.label_texts.description_files import TagDescriptions, Undescribed
from anytag.language.label_texts.description_templates import (
    Describable,
    NamedTag,
    plain_line,
    questions,
    subject_of,
    template_lines,
)
from anytag.language.parsing.lemmas import noun_lemma, verb_lemma
from anytag.language.tags.wordnet import PartOfSpeech, Synset, WordNet
from anytag.model.names import normalize_name
from anytag.recognition import TagKind

#: Descriptions of a tag in RAM++.
PER_TAG = 51

#: What stands for the language model where there was none.
FROM_WORDNET, FROM_TEMPLATES = "WordNet glosses and templates", "templates"

#: Answers that say nothing new, after which a question is given up.
_PATIENCE = 4
_SHORTEST = 3
_THOUGHTS = re.compile(r"<think>.*?(?:</think>|\Z)", re.DOTALL)
_BULLET = re.compile(r"^(?:[-*•]|\d+[.)])\s+")
_EXCUSES = ("i'm sorry", "i am sorry", "i cannot", "i can't", "as an ai", "sorry, ")

_PARTS: dict[TagKind, tuple[PartOfSpeech, ...]] = {
    "object": ("noun",), "scene": ("noun",), "attribute": ("adj", "noun"), "action": ("verb",),
}  # fmt: skip
#: Senses of a name that are told of.
_SENSES = 3


def api_key() -> str | None:
    """The key for language models: ``ANYTAG_API_KEY``, or ``OPENAI_API_KEY``."""
    return os.environ.get("ANYTAG_API_KEY") or os.environ.get("OPENAI_API_KEY") or None


def from_endpoint(
    tags: Iterable[Describable],
    url: str,
    model: str,
    key: str | None = None,
    per_tag: int = PER_TAG,
    workers: int = 4,
    timeout: float = 60.0,
    attempts: int = 6,
    pause: float = 1.0,
) -> Iterator[TagDescriptions | Undescribed]:
    """Descriptions by a language model: a plain line, then its answers to five questions in equal parts.

    Args:
        tags: What to describe.
        url: Address of an OpenAI-compatible server, with or without ``/v1/chat/completions``.
        model: The model's name there.
        key: Bearer token; ``None``: :func:`api_key`. It is sent, and neither kept nor shown.
        per_tag: Descriptions a tag, the plain line among them.
        workers: Tags asked for at a time.
        timeout: Seconds without an answer or a byte after which a try counts as failed.
        attempts: Tries for a question.
        pause: Seconds before the second; doubled before each further one.

    Yields:
        One for every tag, in order.

    Raises:
        EndpointError: If the server refuses, or does not answer.
    """
    _require_count(per_tag)
    endpoint = ChatEndpoint(url, model, api_key() if key is None else key, 0.99, 77, timeout, attempts, pause)
    pool = ThreadPoolExecutor(max(1, workers))
    pending: deque[Future[TagDescriptions | Undescribed]] = deque()
    try:
        for tag in tags:
            pending.append(pool.submit(_ask, endpoint, tag, per_tag))
            if len(pending) >= 2 * max(1, workers):
                yield pending.popleft().result()
        while pending:
            yield pending.popleft().result()
    finally:
        endpoint.stop()
        pool.shutdown(wait=False, cancel_futures=True)


def _ask(endpoint: ChatEndpoint, tag: Describable, per_tag: int) -> TagDescriptions | Undescribed:
    lines = _Lines(per_tag)
    lines.add(plain_line(tag))
    asked = questions(tag)
    for number, question in enumerate([*asked, *asked], 1):
        # What one question falls short of, the next ones make up for; the second round is for the last.
        goal = 1 + round((per_tag - 1) * min(1.0, number / len(asked)))
        fruitless = 0
        while len(lines.found) < goal and fruitless < _PATIENCE:
            before = len(lines.found)
            for answer in endpoint.ask(question, goal - before):
                if (line := clean_answer(answer)) is not None and len(lines.found) < goal:
                    lines.add(line)
            fruitless = 0 if len(lines.found) > before else fruitless + 1
    if len(lines.found) < per_tag:
        return Undescribed(
            tag, f"{len(lines.found)} of {per_tag} usable descriptions; the others were short or the same"
        )
    today = datetime.datetime.now(datetime.UTC).date().isoformat()
    return TagDescriptions(tag.name, tuple(lines.found), tag.kind, endpoint.model, today)


def clean_answer(answer: str) -> str | None:
    """An answer as one line without quotes, bullets and thoughts; ``None`` if it is too short, or an excuse."""
    line = " ".join(_THOUGHTS.sub(" ", answer).split())
    line = _BULLET.sub("", line).strip("\"'“”‘’` ")
    if len(line.split()) < _SHORTEST or line.lower().replace("’", "'").startswith(_EXCUSES):
        return None
    return line


def from_wordnet(
    tags: Iterable[Describable], glosses: WordNet | None, per_tag: int = PER_TAG
) -> Iterator[TagDescriptions]:
    """Descriptions without a language model: a plain line, what WordNet says, and templates; always the same.

    RAM++'s authors found glosses to help little beside a language model's words (appendix).

    Args:
        tags: What to describe.
        glosses: WordNet; ``None``: templates alone, with a warning.
        per_tag: Descriptions a tag, all different.

    Raises:
        UsageError: If there are not so many templates.
    """
    _require_count(per_tag)
    if glosses is None:
        warnings.warn(
            "descriptions are made of templates alone, which tell a tag from others by its name only", stacklevel=2
        )
    for tag in tags:
        lines = _Lines(per_tag)
        lines.add(plain_line(tag))
        # Half of the room is left to templates: glosses are many for few tags.
        for line in _gloss_lines(tag, glosses) if glosses else ():
            if len(lines.found) < (per_tag + 1) // 2:
                lines.add(line)
        for line in template_lines(tag):
            lines.add(line)
        if len(lines.found) < per_tag:
            raise UsageError(f"there are no more than {len(lines.found)} templates for {tag.name!r}; ask for fewer")
        yield TagDescriptions(tag.name, tuple(lines.found), tag.kind, FROM_WORDNET if glosses else FROM_TEMPLATES)


def _gloss_lines(tag: Describable, glosses: WordNet) -> Iterator[str]:
    subject = subject_of(tag)
    senses, whole = _senses(tag, glosses)
    for sense in senses:
        definition, examples = _split_gloss(sense.gloss)
        if not whole:
            # Only the last word is known: "folding chair" is a kind of chair.
            yield f"{subject}, a kind of {sense.words[0]}: {definition}."
            continue
        yield f"{subject}: {definition}."
        others = [word for word in sense.words[:4] if word != tag.name.lower()]
        if sense.part == "noun":
            yield f"a photo of {subject}, {definition}."
            yield from (f"{subject}, also called {word}." for word in others)
            yield from (f"{subject}, a kind of {one.words[0]}." for one in glosses.ancestors(sense)[:2])
        elif sense == senses[0]:
            yield from (plain_line(NamedTag(word, tag.kind)) for word in others)
        yield from (f"{example}." for example in examples[:2] if tag.name.lower() in example.lower())


def _senses(tag: Describable, glosses: WordNet) -> tuple[list[Synset], bool]:
    """First senses that fit the tag's kind, and whether they are of its whole name."""
    name = normalize_name(tag.name)
    first, _, last = name.rpartition(" ")
    head = noun_lemma(last)
    lemmas: tuple[str, ...] = (name,)
    if tag.kind == "action":
        verb, blank, rest = name.partition(" ")
        lemmas = (f"{verb_lemma(verb)}{blank}{rest}", name)
    elif tag.kind != "attribute":
        lemmas = (name, f"{first} {head}".strip(), head)
    for lemma in dict.fromkeys(lemmas):
        for part in _PARTS[tag.kind]:
            if found := glosses.synsets(lemma, part):
                if part == "noun":
                    # What a photo can show comes first: "crane" is a bird and a machine before it is a writer's name.
                    found.sort(key=lambda sense: not _is_physical(sense, glosses))
                whole = " " not in name or lemma != head or tag.kind == "action"
                return found[: _SENSES if whole else 1], whole
    return [], False


def _is_physical(sense: Synset, glosses: WordNet) -> bool:
    return any("physical entity" in one.words for one in glosses.ancestors(sense))


def _split_gloss(gloss: str) -> tuple[str, list[str]]:
    """Definition and examples: ``bird of prey; "the owl hooted"``."""
    definition, *examples = re.split(r';\s*(?=")', gloss)
    return definition.strip(" ;."), [example.strip('"; .!?') for example in examples]


class _Lines:
    """Different lines, as many as are wanted."""

    def __init__(self, limit: int):
        self.limit, self.found = limit, list[str]()
        self._seen: set[str] = set()

    def add(self, line: str) -> None:
        if len(self.found) < self.limit and line.lower() not in self._seen:
            self._seen.add(line.lower())
            self.found.append(line)


def _require_count(per_tag: int) -> None:
    if per_tag < 1:
        raise UsageError(f"{per_tag} descriptions a tag are too few; give 1 or more, {PER_TAG} as RAM++ has")
