"""Embed the texts of labels, with a cache on disk.

A label takes a text encoder up to 63 prompts (RAM) or 51 descriptions (RAM++), and its embedding never changes. Each
label is an entry of its own, so that new categories cost only themselves, and an interrupted run resumes.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import os
import tempfile
import time
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Literal, Protocol

import numpy as np

from anytag.errors import ModelError, UsageError
from anytag.foundations.cache_folder import cache_folder
from anytag.language.label_texts.prompts import FloatArray, ensemble, normalize, open_set_prompts

#: Whether a label's text embeddings are averaged to one vector, or kept.
Treatment = Literal["ensemble", "each"]

#: Four times the embeddings of RAM++'s vocabulary (4,585 tags x 51 x 512 floats are 479 MB).
DEFAULT_MAX_BYTES = 2 << 30

_DIGEST = hashlib.sha256().digest_size
#: Age in seconds from which an unfinished entry counts as abandoned.
_ABANDONED = 3600.0
#: Labels per call of the text encoder.
_GROUP = 32


class TextEncoder(Protocol):
    """Embeds texts."""

    @property
    def fingerprint(self) -> str:
        """A hash of weights, sizes and tokenizer, which changes whenever an embedding might."""

    def embed(self, texts: Sequence[str]) -> FloatArray:
        """Return unit vectors ``[T, D]``."""


class EmbeddingCache:
    """Arrays on disk by a hash of their inputs; the least recently used go first.

    An entry is an ``.npy`` file followed by its SHA-256; a damaged one counts as missing.

    Args:
        cache_dir: The folder, created when needed; ``None``: ``embeddings`` in the user's cache.
        max_bytes: Size to which :meth:`trim` reduces the cache.
    """

    def __init__(self, cache_dir: str | Path | None = None, max_bytes: int = DEFAULT_MAX_BYTES):
        self.folder = cache_folder("embeddings") if cache_dir is None else Path(cache_dir)
        self.max_bytes = max_bytes
        self._unwritable = False

    def path(self, key: str) -> Path:
        """Return the file of a key."""
        return self.folder / f"{key}.npy"

    def read(self, key: str) -> FloatArray | None:
        """Return an entry; ``None`` if it is missing or damaged."""
        path = self.path(key)
        try:
            content = path.read_bytes()
            body, digest = content[:-_DIGEST], content[-_DIGEST:]
            if hashlib.sha256(body).digest() != digest:
                return None  # It is computed again and overwritten.
            found: FloatArray = np.load(io.BytesIO(body), allow_pickle=False)
        except (OSError, ValueError, EOFError):
            return None
        with contextlib.suppress(OSError):  # The cache may be read-only.
            os.utime(path)
        return found

    def write(self, key: str, array: FloatArray) -> None:
        """Write an entry atomically; if the folder is not writable, warn once."""
        if self._unwritable:
            return
        body = io.BytesIO()
        np.save(body, array, allow_pickle=False)
        content = body.getvalue()
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            handle, name = tempfile.mkstemp(".part", dir=self.folder)
            try:
                with os.fdopen(handle, "wb") as file:
                    file.write(content + hashlib.sha256(content).digest())
                Path(name).replace(self.path(key))
            except BaseException:
                Path(name).unlink(missing_ok=True)
                raise
        except OSError as error:
            self._unwritable = True
            warnings.warn(f"{self.folder}: embeddings are not kept ({error.strerror or error})", stacklevel=2)

    def trim(self) -> int:
        """Remove the least recently used entries beyond ``max_bytes``, and abandoned files.

        Returns:
            Bytes removed.
        """
        entries = []
        removed = 0
        for path in self._files():
            try:
                status = path.stat()
                if path.suffix == ".npy":
                    entries.append((status.st_mtime_ns, status.st_size, path))
                elif time.time() - status.st_mtime > _ABANDONED:
                    path.unlink()
                    removed += status.st_size
            except OSError:
                continue  # Another process has removed it.
        left = sum(size for _, size, _ in entries)
        for _, size, path in sorted(entries, key=lambda entry: entry[0]):
            if left <= self.max_bytes:
                break
            path.unlink(missing_ok=True)
            left -= size
            removed += size
        return removed

    def _files(self) -> list[Path]:
        """Return the cache's own files, since the folder may contain others."""
        if not self.folder.is_dir():
            return []
        own = (path for path in self.folder.iterdir() if path.suffix in (".npy", ".part"))
        return [path for path in own if path.suffix == ".part" or len(path.stem) == 2 * _DIGEST]


class OpenSetEmbedder:
    """Embeds labels for open-set recognition, each once.

    Args:
        encoder: CLIP's text encoder for RAM and RAM++.
        cache: Where to keep embeddings; ``None``: nowhere.
        released_articles: See :func:`~anytag.language.label_texts.prompts.open_set_prompts`.
    """

    def __init__(self, encoder: TextEncoder, cache: EmbeddingCache | None = None, released_articles: bool = True):
        self.encoder, self.cache, self.released_articles = encoder, cache, released_articles

    def for_ram(self, names: Sequence[str]) -> FloatArray:
        """Return unit vectors ``[T, D]``, each the ensemble of a name's 63 prompts.

        Raises:
            UsageError: If there is no name.
        """
        return self._embed([open_set_prompts(name, self.released_articles) for name in names], "ensemble")

    def for_descriptions(self, descriptions: Sequence[Sequence[str]]) -> FloatArray:
        """Return a unit vector for each description, ``[T, n, D]``; RAM++ weights them by the picture.

        Raises:
            UsageError: If there are none, or labels have different numbers of them.
        """
        if descriptions:
            expected = len(descriptions[0])
            for number, lines in enumerate(descriptions):
                if isinstance(lines, str):
                    raise UsageError(f"label {number}: give a list of descriptions, not the one text {lines!r}")
                if not lines or len(lines) != expected:
                    raise UsageError(
                        f"label {number} has {len(lines)} descriptions, the first has {expected}; "
                        "every label needs the same number, at least one"
                    )
        return self._embed(descriptions, "each")

    def _embed(self, groups: Sequence[Sequence[str]], treatment: Treatment) -> FloatArray:
        if not groups:
            raise UsageError("there is no label to embed")
        fingerprint = self.encoder.fingerprint
        keys = [cache_key(fingerprint, texts, treatment) for texts in groups]
        texts_of = dict(zip(keys, groups, strict=True))
        found: dict[str, FloatArray] = {}
        for key in texts_of:
            if self.cache is not None and (entry := self.cache.read(key)) is not None:
                found[key] = entry
        missing = [key for key in texts_of if key not in found]
        for start in range(0, len(missing), _GROUP):
            chosen = missing[start : start + _GROUP]
            computed = self._compute([texts_of[key] for key in chosen], treatment)
            for key, array in zip(chosen, computed, strict=True):
                found[key] = array
                if self.cache is not None:
                    self.cache.write(key, array)
        if missing and self.cache is not None:
            self.cache.trim()
        return np.stack([found[key] for key in keys])

    def _compute(self, groups: Sequence[Sequence[str]], treatment: Treatment) -> list[FloatArray]:
        embeddings = np.asarray(self.encoder.embed([text for texts in groups for text in texts]), np.float32)
        total = sum(map(len, groups))
        if embeddings.ndim != 2 or len(embeddings) != total or not np.isfinite(embeddings).all():
            raise ModelError(
                f"the text encoder gave an array of shape {embeddings.shape} for {total} texts, or not only numbers; "
                "its weights may be damaged: convert the model again"
            )
        parts = np.split(embeddings, np.cumsum([len(texts) for texts in groups])[:-1])
        return [ensemble(part) if treatment == "ensemble" else normalize(part) for part in parts]


def cache_key(fingerprint: str, texts: Sequence[str], treatment: Treatment) -> str:
    """Return the SHA-256, in hexadecimal, of everything that an entry depends on."""
    return hashlib.sha256(json.dumps([fingerprint, treatment, list(texts)]).encode()).hexdigest()
