"""CLIP as the image teacher of RAM and RAM++.

Both distill their picture feature from CLIP ViT-B/16 (section 3.2 of RAM). Any CLIP directory in the ``transformers``
layout works. CLIP embeds every augmented picture, as in the papers, or each plain picture once, with the embeddings
cached on disk: much cheaper, but a weaker signal.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional as F

from anytag.datasets.samples import Sample
from anytag.datasets.sources import SampleSource
from anytag.errors import ModelError, PictureError, SampleError, UsageError, first_line, needs_extra
from anytag.foundations.atomic_files import save_array
from anytag.foundations.report import Report
from anytag.model.config import ImageEncoderConfig
from anytag.nn.model import encoder_input
from anytag.pictures import CLIP, read_picture
from anytag.training.families.batches import sample_key


class ClipTeacher:
    """An image teacher: CLIP's image encoder.

    It embeds the same pixels as the model, scaled to its own resolution; the official fine-tuning draws a separate
    view for CLIP instead.

    Args:
        model: A ``CLIPModel`` or ``CLIPVisionModelWithProjection``, in eval mode.
        encoder: Config with the normalization of the input.

    Attributes:
        width: Width of the embeddings.
    """

    def __init__(self, model: Any, encoder: ImageEncoderConfig):
        self.model = model
        self.resolution = int(model.vision_model.config.image_size)
        self.width = int(model.visual_projection.out_features)
        mean, std = (torch.tensor(values) for values in CLIP.of_bytes())
        given_mean, given_std = torch.tensor(encoder.mean), torch.tensor(encoder.std)
        # Factor and shift convert the encoder's normalization to CLIP's.
        self._factor = (given_std / std)[:, None, None]
        self._shift = ((given_mean - mean) / std)[:, None, None]

    @classmethod
    def load(cls, folder: Path, encoder: ImageEncoderConfig, device: torch.device | str = "cpu") -> ClipTeacher:
        """Read a CLIP directory.

        Raises:
            MissingExtraError: If ``transformers`` is not installed.
            ModelError: If the directory holds no CLIP.
        """
        with needs_extra("CLIP as a teacher", "distillation"):
            from transformers import CLIPModel, CLIPVisionModelWithProjection
        try:
            family = json.loads((folder / "config.json").read_text(encoding="utf-8")).get("model_type")
        except (OSError, ValueError) as error:
            raise ModelError(
                f"{folder}: no CLIP model there ({error}); give a folder as transformers saves it"
            ) from None
        # CLIPVisionModelWithProjection expects the embedding's width in another place than a whole CLIP's config.
        reader = CLIPModel if family == "clip" else CLIPVisionModelWithProjection
        try:
            with torch.random.fork_rng(devices=[]):
                model = reader.from_pretrained(str(folder), local_files_only=True)
        except (OSError, ValueError, RuntimeError, KeyError) as error:
            raise ModelError(f"{folder}: CLIP's image encoder cannot be read ({first_line(error)})") from error
        return cls(model.eval().requires_grad_(False).to(device), encoder)

    @torch.no_grad()
    def __call__(self, pixels: Tensor, keys: Sequence[int] = ()) -> Tensor:
        """Embed normalized pixels ``[B, 3, R, R]`` as ``[B, width]``, not normalized."""
        inputs = pixels * self._factor.to(pixels.device) + self._shift.to(pixels.device)
        if inputs.shape[-1] != self.resolution:
            size = (self.resolution, self.resolution)
            inputs = F.interpolate(inputs, size, mode="bicubic", antialias=True, align_corners=False)
        embeddings: Tensor = self.model.visual_projection(self.model.vision_model(pixel_values=inputs).pooler_output)
        return embeddings.float()


class CachedTeacher:
    """An image teacher: cached embeddings of the plain pictures, from :func:`cache_teacher`.

    Keys are in memory, 16 bytes per picture; embeddings stay on disk.

    Attributes:
        width: Width of the embeddings.

    Raises:
        UsageError: If the folder has no files of embeddings.
    """

    def __init__(self, folder: Path):
        files = sorted(folder.glob("*.keys.npy"))
        if not files:
            raise UsageError(f"{folder}: holds no embeddings of a teacher; they are written by cache_teacher")
        keys = [np.load(path) for path in files]
        self._parts = [np.load(_beside(path), mmap_mode="r") for path in files]
        self._starts = np.cumsum([0, *map(len, keys)])
        joined = np.concatenate(keys)
        self._order = np.argsort(joined, kind="stable")
        self._keys = joined[self._order]
        self.width = int(self._parts[0].shape[1])

    def __len__(self) -> int:
        return len(self._keys)

    def __call__(self, pixels: Tensor, keys: Sequence[int]) -> Tensor:
        """Return the embeddings ``[B, width]`` of the samples with these keys; 0 for unknown ones."""
        found = np.zeros((len(keys), self.width), np.float32)
        places = np.searchsorted(self._keys, np.array(keys, np.int64))
        for row, (key, place) in enumerate(zip(keys, places.tolist(), strict=True)):
            if place < len(self._keys) and self._keys[place] == key:
                number = int(self._order[place])
                part = int(np.searchsorted(self._starts, number, "right")) - 1
                found[row] = self._parts[part][number - int(self._starts[part])]
        return torch.from_numpy(found).to(pixels.device)


def cache_teacher(
    teacher: ClipTeacher,
    sources: Sequence[SampleSource],
    folder: Path,
    encoder: ImageEncoderConfig,
    *,
    batch_size: int = 64,
    report: Report = print,
) -> int:
    """Embed every picture once, except in parts of the sources that have been embedded before.

    Writes ``<source>-<part>.keys.npy`` (``[N]``, int64) and ``<source>-<part>.embeddings.npy`` (``[N, width]``,
    float16), each whole or not at all. Unreadable pictures are skipped and reported.

    Returns:
        Number of pictures embedded by this call.
    """
    folder.mkdir(parents=True, exist_ok=True)
    made = 0
    for number, source in enumerate(sources):
        for part in range(source.parts):
            path = folder / f"{number:02d}-{part:06d}.keys.npy"
            if path.exists():
                continue
            keys: list[int] = []
            embeddings: list[npt.NDArray[np.float16]] = [np.zeros((0, teacher.width), np.float16)]
            readable = _readable(source.read(part), teacher.resolution, report)
            while samples := list(islice(readable, batch_size)):
                rows = np.stack([pixels for _, pixels in samples])
                pixels = encoder_input(torch.from_numpy(rows), encoder)
                device = next(teacher.model.parameters()).device
                embeddings.append(teacher(pixels.to(device)).cpu().numpy().astype(np.float16))
                keys += [sample_key(sample.source or sample.id) for sample, _ in samples]
            # The keys last: they mark the part as done.
            save_array(_beside(path), np.concatenate(embeddings))
            save_array(path, np.array(keys, np.int64))
            made += len(keys)
            report(f"teacher: part {part + 1}/{source.parts} of source {number + 1}, {len(keys)} pictures")
    return made


def _readable(
    items: Iterator[Sample | SampleError], resolution: int, report: Report
) -> Iterator[tuple[Sample, npt.NDArray[np.uint8]]]:
    for item in items:
        try:
            if isinstance(item, SampleError):
                raise item
            picture = read_picture(item.picture, label=item.place, draft_size=resolution)
        except (SampleError, PictureError) as error:
            report(f"teacher: left out: {error}")
            continue
        yield item, np.asarray(picture.resize((resolution, resolution)), np.uint8)


def _beside(keys: Path) -> Path:
    return keys.with_name(keys.name.replace(".keys.", ".embeddings."))
