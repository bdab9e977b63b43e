"""A picture that is encoded once for many questions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Unpack, overload

from anytag.backends.base import Encoded, FloatArray
from anytag.foundations import arguments
from anytag.inference.questions import Answer, CaptionOptions, Question, Questions, TagOptions, keeps_blank
from anytag.pictures.heat_maps import resize_heat_map
from anytag.recognition import Match, Recognition, Tag


@dataclass(frozen=True)
class Look:
    """One picture, read and encoded once, for any number of questions.

    Returned by :meth:`anytag.Recognizer.look`; like the predictor of Segment Anything, but without hidden state.

    Attributes:
        path: The picture's path, or a description of where it came from.
        height: Of the upright picture, in pixels.
        notes: As in :class:`~anytag.recognition.Recognition`.

    Example:
        >>> look = recognizer.look("photo.jpg")
        >>> [tag.name for tag in look.tags(top=3)], look.caption(["beach"]).caption
        >>> look.match("a child on a swing").score, look.score("dog").score, look.locate("dog").shape
    """

    path: str
    width: int
    height: int
    notes: tuple[str, ...]
    _encoded: Encoded
    _questions: Questions

    def tags(self, **options: Unpack[TagOptions]) -> tuple[Tag, ...]:
        """Find tags, best first; options as in :meth:`anytag.Recognizer.tag`.

        Raises:
            UsageError: If an option is wrong.
        """
        return self._recognition(self._questions.tags(**options)).tags

    def caption(self, tags: Sequence[str] | None = None, **options: Unpack[CaptionOptions]) -> Recognition:
        """Write a caption and find tags; options as in :meth:`anytag.Recognizer.caption`.

        Args:
            tags: Tags that the caption should mention; ``None``: those found; empty: none.

        Raises:
            UsageError: If an option is wrong or a tag is unknown.
            ModelError: If the model does not write captions.
        """
        return self._recognition(self._questions.caption(tags, **options))

    @overload
    def match(self, texts: str) -> Match: ...  # type: ignore[overload-overlap]
    @overload
    def match(self, texts: Sequence[str]) -> tuple[Match, ...]: ...

    def match(self, texts: str | Sequence[str]) -> Match | tuple[Match, ...]:
        """Score how well one text fits, or each of several; see :meth:`anytag.Recognizer.match`.

        Raises:
            UsageError: If there is no text, or one is empty.
            ModelError: If the model cannot read texts.
        """
        if isinstance(texts, str):
            return self._ask(self._questions.match([texts])).matches[0]
        return self._ask(self._questions.match(texts)).matches

    def score(self, tag: str) -> Tag:
        """Score a tag or any other words, whether it reaches its threshold or not.

        Raises:
            UsageError: If the tag's name is empty.
            ModelError: If the model does not know such a tag.
        """
        return self._ask(self._questions.score(tag))

    def locate(self, tag: str, *, resize: Literal["nearest", "bilinear"] | None = None) -> FloatArray:
        """Find where the picture shows a tag; arguments, result and errors as in :meth:`anytag.Recognizer.locate`."""
        if resize is not None:
            arguments.choice("resize", resize, ("nearest", "bilinear"))
        heat = self._ask(self._questions.locate(tag))
        return heat if resize is None else resize_heat_map(heat, self.width, self.height, resize)

    def _recognition(self, question: Question[Recognition]) -> Recognition:
        return self._ask(question).noted(self.notes, (self.width, self.height), keeps_blank(question))

    def _ask(self, question: Question[Answer]) -> Answer:
        [answer] = question(self._encoded, [self.path])
        return answer
