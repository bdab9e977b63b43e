"""Tag descriptions by a language model, as in RAM++ (Huang et al., 2023, section 3.3)."""

from __future__ import annotations

import datetime
import os
import re
from collections.abc import Iterable, Iterator
from functools import partial

from anytag.foundations.look_ahead import run_ahead
from anytag.language.label_texts.chat_endpoint import ChatEndpoint
from anytag.language.label_texts.description_files import TagDescriptions, Undescribed
from anytag.language.label_texts.description_templates import Describable, plain_line, questions
from anytag.language.label_texts.descriptions import PER_TAG, distinct, require_count

#: Requests without a new answer after which a question is given up.
_PATIENCE = 4
_SHORTEST = 3
_THOUGHTS = re.compile(r"<think>.*?(?:</think>|\Z)", re.DOTALL)
_BULLET = re.compile(r"^(?:[-*•]|\d+[.)])\s+")
_EXCUSES = ("i'm sorry", "i am sorry", "i cannot", "i can't", "as an ai", "sorry, ")


def api_key() -> str | None:
    """Return the key for language models: ``ANYTAG_API_KEY`` or ``OPENAI_API_KEY``."""
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
    """Describe tags by a language model: a plain line, and as many answers to each of five questions.

    Args:
        tags: Tags to describe.
        url: Address of an OpenAI-compatible server, with or without ``/v1/chat/completions``.
        model: The model's name on the server.
        key: Bearer token, neither stored nor shown; ``None``: :func:`api_key`.
        per_tag: Descriptions per tag, including the plain line.
        workers: Tags described at a time.
        timeout: Seconds without an answer or a byte after which a try has failed.
        attempts: Tries per question.
        pause: Seconds before the second try, doubled before each further one.

    Yields:
        One result per tag, in order.

    Raises:
        EndpointError: If the server refuses, or does not answer.
    """
    require_count(per_tag)
    endpoint = ChatEndpoint(url, model, api_key() if key is None else key, 0.99, 77, timeout, attempts, pause)
    jobs = ((tag, partial(_ask, endpoint, tag, per_tag)) for tag in tags)
    try:
        for _, result in run_ahead(jobs, max(1, workers), 2 * max(1, workers)):
            yield result()
    finally:
        endpoint.stop()


def _ask(endpoint: ChatEndpoint, tag: Describable, per_tag: int) -> TagDescriptions | Undescribed:
    lines = [plain_line(tag)]
    asked = questions(tag)
    for number, question in enumerate([*asked, *asked], 1):
        # Later questions make up for missing answers to earlier ones; the second round for those to the last.
        goal = 1 + round((per_tag - 1) * min(1.0, number / len(asked)))
        fruitless = 0
        while len(lines) < goal and fruitless < _PATIENCE:
            before = len(lines)
            answers = map(clean_answer, endpoint.ask(question, goal - before))
            lines = distinct([*lines, *filter(None, answers)], goal)
            fruitless = 0 if len(lines) > before else fruitless + 1
    if len(lines) < per_tag:
        return Undescribed(tag, f"{len(lines)} of {per_tag} usable descriptions; the others were short or the same")
    today = datetime.datetime.now(datetime.UTC).date().isoformat()
    return TagDescriptions(tag.name, tuple(lines), tag.kind, endpoint.model, today)


def clean_answer(answer: str) -> str | None:
    """Return an answer as one line without quotes, bullets and thoughts; ``None`` if it is too short, or an excuse."""
    line = " ".join(_THOUGHTS.sub(" ", answer).split())
    line = _BULLET.sub("", line).strip("\"'“”‘’` ")
    if len(line.split()) < _SHORTEST or line.lower().replace("’", "'").startswith(_EXCUSES):
        return None
    return line
