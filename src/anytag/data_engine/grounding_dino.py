"""Regions from Grounding DINO (Liu et al., 2023), as in RAM's cleaning; needs its weights and ``transformers``."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from PIL import Image

from anytag.backends.base import FloatArray
from anytag.data_engine.regions import Region, grid_side, region_of_box
from anytag.errors import MissingExtraError, ModelError, UsageError, needs_extra
from anytag.model.vocabulary import VocabularyTag


def check_detector(folder: str | Path | None) -> Path:
    """Return the folder of the weights, after checking that they and their library are there; nothing is loaded.

    Raises:
        MissingExtraError: If ``transformers`` is not installed.
        UsageError: If no folder is given.
        ModelError: If the folder has no such weights.
    """
    if folder is None:
        raise UsageError("Grounding DINO needs the folder of its weights (detector)")
    if not (find_spec("torch") and find_spec("transformers")):
        raise MissingExtraError("Regions from Grounding DINO", "grounding")
    if not (Path(folder) / "config.json").is_file():
        raise ModelError(f"{folder}: no Grounding DINO here (no config.json); download its weights to a folder first")
    return Path(folder)


class GroundingDinoRegions:
    """The best box of each tag.

    A picture's tags are detected together, separated by full stops so that they do not attend to each other. A box's
    score for a tag is the mean over the word pieces of its name: with the maximum, as in the authors' demo, any dog
    would be a hot dog.

    Args:
        folder: The weights, in the layout of ``transformers`` (``IDEA-Research/grounding-dino-base``, downloaded).
        box_threshold: Boxes with lower scores do not count, 0 to 1.

    Raises:
        MissingExtraError: If ``transformers`` is not installed.
        ModelError: If the folder has no such weights.
    """

    def __init__(self, folder: str | Path, box_threshold: float = 0.35):
        with needs_extra("Regions from Grounding DINO", "grounding"):
            import torch  # noqa: F401
            from transformers import AutoImageProcessor, AutoTokenizer, GroundingDinoForObjectDetection
        self.box_threshold = box_threshold
        check_detector(folder)
        try:
            self._tokenizer: Any = AutoTokenizer.from_pretrained(folder, local_files_only=True)
            # The other backend needs torchvision.
            self._prepare: Any = AutoImageProcessor.from_pretrained(folder, local_files_only=True, backend="pil")
            model: Any = GroundingDinoForObjectDetection.from_pretrained(folder, local_files_only=True)
        except (OSError, ValueError, KeyError) as error:
            raise ModelError(f"{folder}: cannot be loaded as Grounding DINO ({error})") from error
        self._model = model.eval()
        self._stop = self._tokenizer.convert_tokens_to_ids(".")

    def find(self, picture: Image.Image, features: FloatArray, tags: Sequence[VocabularyTag]) -> list[Region | None]:
        """Find each tag's region; see :class:`~anytag.data_engine.regions.RegionSource`."""
        import torch

        found: list[Region | None] = []
        side = grid_side(features)
        pixels = self._prepare(images=picture, return_tensors="pt") if tags else {}
        for ids, spans in self._texts([tag.name for tag in tags]):
            text = torch.tensor([ids])
            with torch.inference_mode():
                output = self._model(
                    **pixels,
                    input_ids=text,
                    attention_mask=torch.ones_like(text),
                    token_type_ids=torch.zeros_like(text),
                )
            scores, boxes = output.logits[0].float().sigmoid(), output.pred_boxes[0].float()
            for first, last in spans:
                of_tag = scores[:, first:last].mean(1)
                best = int(of_tag.argmax())
                score = float(of_tag[best])
                x, y, width, height = boxes[best].tolist()
                box = (x - width / 2, y - height / 2, x + width / 2, y + height / 2)
                found.append(region_of_box(box, side, score) if score >= self.box_threshold else None)
        return found

    def _texts(self, names: Sequence[str]) -> Iterator[tuple[list[int], list[tuple[int, int]]]]:
        """Yield the token ids of as many names as fit at a time, and the span of each name."""
        start, end = self._tokenizer.cls_token_id, self._tokenizer.sep_token_id
        limit = int(self._model.config.max_text_len)
        ids: list[int] = [start]
        spans: list[tuple[int, int]] = []
        for name in names:
            pieces = self._tokenizer(name, add_special_tokens=False)["input_ids"][: limit - 3]
            if spans and len(ids) + len(pieces) + 2 > limit:
                yield [*ids, end], spans
                ids, spans = [start], []
            spans.append((len(ids), len(ids) + len(pieces)))
            ids += [*pieces, self._stop]
        if spans:
            yield [*ids, end], spans
