"""A picture that is asked many things through a service, as :class:`anytag.Look` is asked on this machine."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal, overload

from anytag.backends.base import FloatArray
from anytag.pictures import read_picture
from anytag.pictures.sources import NamedBytes
from anytag.recognition import Match, Matches, Recognition, Tag


@dataclass(frozen=True)
class RemoteLook:
    """One picture, read from its file once; :meth:`~anytag.service.client.RemoteRecognizer.look` gives it.

    It has the methods of :class:`anytag.Look`. The service keeps no pictures, so each call sends it anew.

    Attributes:
        path: The picture's path, or a description of where it came from.
        notes: What there is to know about it; see :class:`~anytag.recognition.Recognition`.
    """

    path: str
    notes: tuple[str, ...]
    _content: bytes
    _recognizer: Any

    @property
    def width(self) -> int:
        """Of the upright picture, in pixels.

        Raises:
            PictureError: If this machine cannot read what the service can.
        """
        return self._size[0]

    @property
    def height(self) -> int:
        """Of the upright picture, in pixels.

        Raises:
            PictureError: If this machine cannot read what the service can.
        """
        return self._size[1]

    def tags(self, **options: Any) -> tuple[Tag, ...]:
        """The tags found, best first; see :meth:`anytag.Look.tags`."""
        seen: Recognition = self._recognizer.tag(self._source, **options)
        return seen.tags

    def caption(self, tags: Sequence[str] | None = None, **options: Any) -> Recognition:
        """A caption, and the tags found; see :meth:`anytag.Look.caption`."""
        seen: Recognition = self._recognizer.caption(self._source, tags=tags, **options)
        return seen

    @overload
    def match(self, texts: str) -> Match: ...  # type: ignore[overload-overlap]
    @overload
    def match(self, texts: Sequence[str]) -> tuple[Match, ...]: ...

    def match(self, texts: str | Sequence[str]) -> Match | tuple[Match, ...]:
        """How well one text fits, or each of several; see :meth:`anytag.Look.match`."""
        fits: Matches = self._recognizer.match(self._source, [texts] if isinstance(texts, str) else texts)
        return fits.matches[0] if isinstance(texts, str) else fits.matches

    def score(self, tag: str) -> Tag:
        """The score of a tag, whether it counts as found or not; see :meth:`anytag.Look.score`."""
        found: Tag = self._recognizer.score(self._source, tag)
        return found

    def locate(self, tag: str, *, resize: Literal["nearest", "bilinear"] | None = None) -> FloatArray:
        """Where a tag is seen; see :meth:`anytag.Look.locate`."""
        heat: FloatArray = self._recognizer.locate(self._source, tag, resize=resize)
        return heat

    @property
    def _source(self) -> NamedBytes:
        return NamedBytes(self.path, self._content)

    @cached_property
    def _size(self) -> tuple[int, int]:
        return read_picture(self._source, accept_truncated=True).size
