"""Find a tag's region in a picture with the recognition decoder itself.

RAM crops its regions with Grounding DINO (:mod:`anytag.data_engine.grounding_dino`); the model at hand can find them
too, for every tag it knows and at a fraction of the cost, in two ways. **Cells** runs the recognition decoder once for
each cell of the image encoder's grid, as if the picture consisted of that cell alone: its score is what the decoder
makes of the cell. **Attention** takes the weights with which the tag's query attends to the cells in the last layer,
averaged over heads: one pass instead of one per cell. It shows where the decoder looks rather than what it finds there;
for tags as common as "person" the shipped model looks hardest at empty corners.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt
from PIL import Image

from anytag.backends.base import FloatArray, Queries
from anytag.errors import ModelError, UsageError
from anytag.foundations.log_odds import sigmoid
from anytag.inference.recognizer import Recognizer
from anytag.model.vocabulary import VocabularyTag

#: Left, upper, right and lower side as shares of the picture, 0 to 1.
BoxSides = tuple[float, float, float, float]

#: Maps features ``[1 + g * g, W]`` and T tags to each cell's evidence for each tag, ``[T, g * g]``, 0 or more.
HeatMap = Callable[[FloatArray, Sequence[VocabularyTag]], npt.NDArray[np.float64]]


@dataclass(frozen=True, slots=True)
class Region:
    """A tag's region.

    Attributes:
        weights: ``[g, g]``, how much each cell of the image encoder's grid belongs to it, with sum 1.
        score: The finder's confidence, 0 to 1.
    """

    box: BoxSides
    weights: npt.NDArray[np.float64]
    score: float


class RegionSource(Protocol):
    """Finds regions."""

    def find(self, picture: Image.Image, features: FloatArray, tags: Sequence[VocabularyTag]) -> list[Region | None]:
        """Find the best region of each tag.

        Args:
            picture: Upright, RGB.
            features: ``[1 + g * g, W]``, the recognizer's image features; the first is their mean.
            tags: Tags of the recognizer's vocabulary.

        Returns:
            One entry per tag; ``None`` if it is not found.
        """
        ...


class HeatRegions:
    """Regions from heat maps: the connected cells around the hottest that are almost as hot.

    Args:
        share: Share of the hottest cell's heat from which a cell belongs to the region.

    Raises:
        UsageError: If the share is not above 0 and at most 1.
    """

    def __init__(self, heat: HeatMap, share: float = 0.5):
        if not 0 < share <= 1:
            raise UsageError(f"a region's share of heat is above 0 and at most 1, not {share}")
        self.heat, self.share = heat, share

    def find(self, picture: Image.Image, features: FloatArray, tags: Sequence[VocabularyTag]) -> list[Region | None]:
        """Find each tag's region; see :class:`RegionSource`."""
        if not tags:
            return []
        side = grid_side(features)
        maps = self.heat(features, tags).reshape(len(tags), side, side)
        return [region_of_heat(one, self.share) for one in maps]


def grid_side(features: FloatArray) -> int:
    """Return the grid's side g for features ``[1 + g * g, W]``.

    Raises:
        ModelError: If the grid is not square.
    """
    side = math.isqrt(len(features) - 1)
    if side * side != len(features) - 1 or not side:
        raise ModelError(f"regions need a model whose features are a square grid and their mean, not {len(features)}")
    return side


def region_of_heat(heat: npt.NDArray[np.float64], share: float) -> Region | None:
    """Return the region of a heat map ``[g, g]``; ``None`` if it is all 0."""
    side = len(heat)
    top = float(heat.max())
    if not top > 0:
        return None
    warm = heat >= share * top
    start = divmod(int(heat.argmax()), side)
    inside = np.zeros_like(warm)
    inside[start] = True
    pending = [start]
    while pending:
        row, column = pending.pop()
        for near in ((row - 1, column), (row + 1, column), (row, column - 1), (row, column + 1)):
            if 0 <= near[0] < side and 0 <= near[1] < side and warm[near] and not inside[near]:
                inside[near] = True
                pending.append(near)
    rows, columns = np.flatnonzero(inside.any(1)), np.flatnonzero(inside.any(0))
    box = (columns[0] / side, rows[0] / side, (columns[-1] + 1) / side, (rows[-1] + 1) / side)
    weights = np.where(inside, heat, 0).astype(np.float64)
    return Region((float(box[0]), float(box[1]), float(box[2]), float(box[3])), weights / weights.sum(), min(1.0, top))


def region_of_box(box: BoxSides, side: int, score: float) -> Region | None:
    """Return the region of a detector's box, with cells weighted by their overlap; ``None`` if it has no area."""
    left, upper, right, lower = (min(max(float(edge), 0.0), 1.0) for edge in box)
    edges = np.linspace(0, 1, side + 1)

    def covered(start: float, end: float) -> npt.NDArray[np.float64]:
        shared: npt.NDArray[np.float64] = np.minimum(end, edges[1:]) - np.maximum(start, edges[:-1])
        return shared.clip(0)

    weights = np.outer(covered(upper, lower), covered(left, right))
    if not (total := weights.sum()) > 0:
        return None
    return Region((left, upper, right, lower), weights / total, score)


def cell_heat(recognizer: Recognizer, features: FloatArray, tags: Sequence[VocabularyTag]) -> npt.NDArray[np.float64]:
    """Score each tag on each cell alone, ``[T, g * g]``, 0 to 1; see :data:`HeatMap`.

    The decoder gets pictures that repeat a single cell: attention over equal tokens returns that token, whatever the
    weights.
    """
    slope = recognizer.directory.config.score_slope
    cells = np.ascontiguousarray(np.repeat(features[1:, None], len(features), 1))
    logits = recognizer.backend.recognize(cells, _queries(recognizer, tags)).astype(np.float64)
    if (evidence := recognizer.scorer.tag_evidence) is not None:
        logits = evidence.from_decoder_alone(logits, [tag.id for tag in tags])
    odds = (logits - np.array([tag.shift for tag in tags])) * slope
    scores: npt.NDArray[np.float64] = sigmoid(odds.T)
    return scores


def attention_heat(
    recognizer: Recognizer, features: FloatArray, tags: Sequence[VocabularyTag]
) -> npt.NDArray[np.float64]:
    """Return the attention of the recognition decoder's last layer, averaged over heads; see :data:`HeatMap`.

    Raises:
        ModelError: If the model was exported without its attention.
    """
    queries = _queries(recognizer, tags)
    weights = recognizer.backend.attention(np.ascontiguousarray(features[None]), queries)
    heat: npt.NDArray[np.float64] = weights[0, :, 1:].astype(np.float64)
    return heat


def _queries(recognizer: Recognizer, tags: Sequence[VocabularyTag]) -> Queries:
    """Return only the tags' queries, since complete labels take longer to make than the decoder takes to run."""
    return recognizer.labels.queries.take(np.array([tag.id for tag in tags], np.int64))
