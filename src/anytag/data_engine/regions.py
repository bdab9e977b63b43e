"""Where in a picture a tag is seen: regions from the recognition decoder itself.

RAM crops its regions with Grounding DINO (:mod:`anytag.data_engine.grounding_dino`); the model at hand can tell them
too, for every tag it knows and at a fraction of the cost. Two ways are here. **Cells** asks the recognition decoder for
the tag once for each cell of the image encoder's grid, as if the picture were nothing but that cell: its score there is
what the decoder itself makes of the cell. **Attention** takes the weights with which the tag's query attends to the
cells in the last layer, averaged over heads: one pass instead of one a cell. It says where the decoder looks rather
than what it sees there; for tags as common as "person" the shipped model looks hardest at empty corners.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
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


@dataclass(frozen=True, slots=True)
class Region:
    """Where a tag is seen.

    Attributes:
        box: Its sides, as shares of the picture.
        weights: ``[g, g]``, how much each cell of the image encoder's grid belongs to it; they add up to 1.
        score: How sure its finder is, 0 to 1.
    """

    box: BoxSides
    weights: npt.NDArray[np.float64]
    score: float


class RegionSource(Protocol):
    """Finds regions."""

    def find(self, picture: Image.Image, features: FloatArray, tags: Sequence[VocabularyTag]) -> list[Region | None]:
        """The best region of each tag.

        Args:
            picture: Upright, RGB.
            features: ``[1 + g * g, W]``, what the recognizer's image encoder makes of it; the first is their mean.
            tags: Of the recognizer's vocabulary.

        Returns:
            One entry a tag; ``None`` where it is not found.
        """
        ...


class HeatMap(Protocol):
    """Says how much each cell speaks for each tag."""

    def __call__(self, features: FloatArray, tags: Sequence[VocabularyTag]) -> npt.NDArray[np.float64]:
        """``[T, g * g]``, 0 or more, for features ``[1 + g * g, W]``."""
        ...


class HeatRegions:
    """Regions from heat maps: the cells around the warmest that are nearly as warm.

    Args:
        heat: The maps.
        share: Of the warmest cell's heat that a cell needs; it also has to touch, directly or through others, the
            warmest.

    Raises:
        UsageError: If the share is not above 0 and at most 1.
    """

    def __init__(self, heat: HeatMap, share: float = 0.5):
        if not 0 < share <= 1:
            raise UsageError(f"a region's share of heat is above 0 and at most 1, not {share}")
        self.heat, self.share = heat, share

    def find(self, picture: Image.Image, features: FloatArray, tags: Sequence[VocabularyTag]) -> list[Region | None]:
        """The best region of each tag; see :class:`RegionSource`."""
        if not tags:
            return []
        side = grid_side(features)
        maps = self.heat(features, tags).reshape(len(tags), side, side)
        return [region_of_heat(one, self.share) for one in maps]


def grid_side(features: FloatArray) -> int:
    """The side g of the grid that features ``[1 + g * g, W]`` are of.

    Raises:
        ModelError: If they are of no square grid.
    """
    side = math.isqrt(len(features) - 1)
    if side * side != len(features) - 1 or not side:
        raise ModelError(f"regions need a model whose features are a square grid and their mean, not {len(features)}")
    return side


def region_of_heat(heat: npt.NDArray[np.float64], share: float) -> Region | None:
    """The region of a heat map ``[g, g]``; ``None`` if the map is cold all over."""
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
    """The region of a detector's box: cells count by the area that they share with it; ``None`` if it has none."""
    left, upper, right, lower = (min(max(float(edge), 0.0), 1.0) for edge in box)
    edges = np.linspace(0, 1, side + 1)

    def covered(start: float, end: float) -> npt.NDArray[np.float64]:
        shared: npt.NDArray[np.float64] = np.minimum(end, edges[1:]) - np.maximum(start, edges[:-1])
        return shared.clip(0)

    weights = np.outer(covered(upper, lower), covered(left, right))
    if not (total := weights.sum()) > 0:
        return None
    return Region((left, upper, right, lower), weights / total, score)


class CellHeat:
    """The score of a tag on each cell alone.

    Attention over a picture whose tokens are all the same gives that token back, whatever the weights: so the decoder
    is shown pictures that repeat a single cell.

    Args:
        recognizer: Any.
    """

    def __init__(self, recognizer: Recognizer):
        self.recognizer = recognizer

    def __call__(self, features: FloatArray, tags: Sequence[VocabularyTag]) -> npt.NDArray[np.float64]:
        """Scores ``[T, g * g]``, 0 to 1; see :class:`HeatMap`."""
        slope = self.recognizer.directory.config.score_slope
        cells = np.ascontiguousarray(np.repeat(features[1:, None], len(features), 1))
        logits = self.recognizer.backend.recognize(cells, _queries(self.recognizer, tags)).astype(np.float64)
        if (evidence := self.recognizer.scorer.tag_evidence) is not None:
            logits = evidence.from_decoder_alone(logits, [tag.id for tag in tags])
        odds = (logits - np.array([tag.shift for tag in tags])) * slope
        scores: npt.NDArray[np.float64] = sigmoid(odds.T)
        return scores


class AttentionHeat:
    """The weights of the recognition decoder's last layer, averaged over heads.

    Args:
        recognizer: Any whose model was exported with its attention.
    """

    def __init__(self, recognizer: Recognizer):
        self.recognizer = recognizer

    def __call__(self, features: FloatArray, tags: Sequence[VocabularyTag]) -> npt.NDArray[np.float64]:
        """Weights ``[T, g * g]``; see :class:`HeatMap`.

        Raises:
            ModelError: If the model was exported without its attention.
        """
        queries = _queries(self.recognizer, tags)
        weights = self.recognizer.backend.attention(np.ascontiguousarray(features[None]), queries)
        heat: npt.NDArray[np.float64] = weights[0, :, 1:].astype(np.float64)
        return heat


def _queries(recognizer: Recognizer, tags: Sequence[VocabularyTag]) -> Queries:
    """The tags' queries alone: whole labels take longer to make than the decoder takes to answer."""
    return recognizer.labels.queries.take(np.array([tag.id for tag in tags], np.int64))
