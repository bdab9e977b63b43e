"""A picture to ask several things about through a service, like :class:`anytag.Look` on this machine."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal, cast, overload

from anytag.backends.base import FloatArray
from anytag.pictures import read_picture
from anytag.pictures.sources import NamedBytes
from anytag.recognition import Match, Matches, Recognition, Tag


@dataclass(frozen=True)
class RemoteLook:
    """One picture, read once; made by :meth:`~anytag.service.client.RemoteRecognizer.look`.

    It has the methods of :class:`anytag.Look`. The service keeps no pictures, so each call sends it again.
    """

    path: str
    notes: tuple[str, ...]
    _content: bytes
    _recognizer: Any

    @property
    def width(self) -> int:
        """Width of the upright picture, in pixels.

        Raises:
            PictureError: If this machine cannot read what the service can.
        """
        return self._size[0]

    @property
    def height(self) -> int:
        """Height of the upright picture, in pixels; see :attr:`width`."""
        return self._size[1]

    def tags(self, **options: Any) -> tuple[Tag, ...]:
        """Return the tags found, best first; see :meth:`anytag.Look.tags`."""
        return cast(Recognition, self._recognizer.tag(self._source, **options)).tags

    def caption(self, tags: Sequence[str] | None = None, **options: Any) -> Recognition:
        """Return a caption and the tags found; see :meth:`anytag.Look.caption`."""
        return cast(Recognition, self._recognizer.caption(self._source, tags=tags, **options))

    @overload
    def match(self, texts: str) -> Match: ...  # type: ignore[overload-overlap]
    @overload
    def match(self, texts: Sequence[str]) -> tuple[Match, ...]: ...

    def match(self, texts: str | Sequence[str]) -> Match | tuple[Match, ...]:
        """Score how well one text fits, or each of several; see :meth:`anytag.Look.match`."""
        several = [texts] if isinstance(texts, str) else texts
        matches = cast(Matches, self._recognizer.match(self._source, several)).matches
        return matches[0] if isinstance(texts, str) else matches

    def score(self, tag: str) -> Tag:
        """Score a tag, found or not; see :meth:`anytag.Look.score`."""
        return cast(Tag, self._recognizer.score(self._source, tag))

    def locate(self, tag: str, *, resize: Literal["nearest", "bilinear"] | None = None) -> FloatArray:
        """Locate a tag; see :meth:`anytag.Look.locate`."""
        return cast(FloatArray, self._recognizer.locate(self._source, tag, resize=resize))

    @property
    def _source(self) -> NamedBytes:
        return NamedBytes(self.path, self._content)

    @cached_property
    def _size(self) -> tuple[int, int]:
        return read_picture(self._source, accept_truncated=True).size
