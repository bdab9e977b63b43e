"""Text embeddings of labels, kept on disk by their content.

A label's embedding takes a text encoder up to 63 sentences (RAM) or 51 descriptions (RAM++), and never changes. Entries
are made one label at a time, so that a list of categories that grows costs its new names only, and a run that is
stopped goes on where it was.
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

#: What becomes of a label's text embeddings: one vector, or each on its own.
Treatment = Literal["ensemble", "each"]

#: Room for the descriptions of RAM++'s whole vocabulary four times over (4,585 tags x 51 x 512 floats are 479 MB).
DEFAULT_MAX_BYTES = 2 << 30

_DIGEST = hashlib.sha256().digest_size
#: Half-written entries of other processes are left alone for this long, in seconds.
_ABANDONED = 3600.0
#: Labels that are embedded in one go.
_GROUP = 32


class TextEncoder(Protocol):
    """What turns texts into vectors."""

    @property
    def fingerprint(self) -> str:
        """Changes whenever an embedding might: of weights, sizes and tokenizer."""

    def embed(self, texts: Sequence[str]) -> FloatArray:
        """Unit vectors ``[T, D]``."""


def default_cache_dir() -> Path:
    """``embeddings`` in the user's cache."""
    return cache_folder("embeddings")


class EmbeddingCache:
    """Arrays in files named by a hash of what they were made of; those used longest ago go first.

    An entry is an ``.npy`` file with its own SHA-256 behind it: a damaged one counts as absent.

    Args:
        cache_dir: The folder, made when it is needed; ``None``: :func:`default_cache_dir`.
        max_bytes: What :meth:`trim` leaves.
    """

    def __init__(self, cache_dir: str | Path | None = None, max_bytes: int = DEFAULT_MAX_BYTES):
        self.folder = default_cache_dir() if cache_dir is None else Path(cache_dir)
        self.max_bytes = max_bytes
        self._unwritable = False

    def path(self, key: str) -> Path:
        """Where the entry of a key stands or would stand."""
        return self.folder / f"{key}.npy"

    def read(self, key: str) -> FloatArray | None:
        """The entry, or ``None`` if there is none or it is damaged."""
        path = self.path(key)
        try:
            content = path.read_bytes()
            body, digest = content[:-_DIGEST], content[-_DIGEST:]
            if hashlib.sha256(body).digest() != digest:
                return None  # Overwritten by whoever computes it again.
            found: FloatArray = np.load(io.BytesIO(body), allow_pickle=False)
        except (OSError, ValueError, EOFError):
            return None
        with contextlib.suppress(OSError):  # A cache that may only be read still serves.
            os.utime(path)
        return found

    def write(self, key: str, array: FloatArray) -> None:
        """Keep an entry, whole or not at all; a folder that cannot be written to costs a warning, not the result."""
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
        """Remove the entries used longest ago until ``max_bytes`` are left, and what dead processes left half done.

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
                continue  # Another process was quicker.
        left = sum(size for _, size, _ in entries)
        for _, size, path in sorted(entries, key=lambda entry: entry[0]):
            if left <= self.max_bytes:
                break
            path.unlink(missing_ok=True)
            left -= size
            removed += size
        return removed

    def _files(self) -> list[Path]:
        """The cache's own files; a folder may hold others."""
        if not self.folder.is_dir():
            return []
        own = (path for path in self.folder.iterdir() if path.suffix in (".npy", ".part"))
        return [path for path in own if path.suffix == ".part" or len(path.stem) == 2 * _DIGEST]


class OpenSetEmbedder:
    """Label embeddings for open-set recognition, computed once.

    Args:
        encoder: CLIP's text encoder for RAM and RAM++.
        cache: Where embeddings are kept; ``None``: nowhere.
        released_articles: See :func:`~anytag.language.label_texts.prompts.open_set_prompts`.
    """

    def __init__(self, encoder: TextEncoder, cache: EmbeddingCache | None = None, released_articles: bool = True):
        self.encoder, self.cache, self.released_articles = encoder, cache, released_articles

    def for_ram(self, names: Sequence[str]) -> FloatArray:
        """One unit vector a name, ``[T, D]``: the ensemble of its 63 prompts.

        Raises:
            UsageError: If there is no name.
        """
        return self._embed([open_set_prompts(name, self.released_articles) for name in names], "ensemble")

    def for_descriptions(self, descriptions: Sequence[Sequence[str]]) -> FloatArray:
        """A unit vector for every description, ``[T, n, D]``; RAM++ weighs them by the picture.

        Raises:
            UsageError: If there is none, or labels have different numbers of them.
        """
        if descriptions:
            expected = len(descriptions[0])
            for place, lines in enumerate(descriptions):
                if isinstance(lines, str):
                    raise UsageError(f"label {place}: give a list of descriptions, not the one text {lines!r}")
                if not lines or len(lines) != expected:
                    raise UsageError(
                        f"label {place} has {len(lines)} descriptions, the first has {expected}; "
                        "every label needs the same number, at least one"
                    )
        return self._embed(descriptions, "each")

    def _embed(self, groups: Sequence[Sequence[str]], treatment: Treatment) -> FloatArray:
        if not groups:
            raise UsageError("there is no label to embed")
        fingerprint = self.encoder.fingerprint
        keys = [cache_key(fingerprint, texts, treatment) for texts in groups]
        places: dict[str, list[int]] = {}
        for place, key in enumerate(keys):
            places.setdefault(key, []).append(place)
        found: list[FloatArray | None] = [None] * len(groups)
        for key, rows in places.items():
            if self.cache is not None and (entry := self.cache.read(key)) is not None:
                for row in rows:
                    found[row] = entry
        missing = [key for key, rows in places.items() if found[rows[0]] is None]
        for start in range(0, len(missing), _GROUP):
            chosen = missing[start : start + _GROUP]
            made = self._compute([groups[places[key][0]] for key in chosen], treatment)
            for key, array in zip(chosen, made, strict=True):
                if self.cache is not None:
                    self.cache.write(key, array)
                for row in places[key]:
                    found[row] = array
        if missing and self.cache is not None:
            self.cache.trim()
        return np.stack([entry for entry in found if entry is not None])

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
    """SHA-256, hexadecimal, of all that an entry depends on."""
    return hashlib.sha256(json.dumps([fingerprint, treatment, list(texts)]).encode()).hexdigest()
