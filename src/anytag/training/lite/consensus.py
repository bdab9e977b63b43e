"""Self-critical training (Rennie et al., 2017): optimize the CIDEr-D score of sampled captions.

Language modeling predicts each next word after human words, while a caption is judged as a whole, after the model's own
words. Captions are sampled from the model and scored by CIDEr-D against the picture's references. Their advantage is
relative to the other samples for that picture (the baseline of Luo, 2020). Scores are over word pieces, including the
end token; without it, endings such as "a man in a" would be rewarded.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from anytag.evaluation.captioning import CiderD
from anytag.nn.model import RecognitionModel
from anytag.nn.transformer import KeysValues
from anytag.training.engine.task import Shared
from anytag.training.lite.batches import PictureRecord


class ConsensusReward(Shared):
    """Scores sampled captions against the references of training pictures that have several captions."""

    def __init__(self, pictures: Sequence[PictureRecord]):
        several = [index for index, picture in enumerate(pictures) if len(picture.captions) > 1]
        self._places = {index: place for place, index in enumerate(several)}
        self._scorer = CiderD([[c.ids[1:] for c in pictures[index].captions] for index in several])

    def scorable(self, picture: int) -> bool:
        """Whether the picture has several captions."""
        return picture in self._places

    def advantages(self, pictures: Sequence[int], captions: Tensor, samples: int) -> Tensor:
        """Compute how much better each sample is than the mean of the others for its picture.

        Args:
            pictures: Numbers of ``P`` pictures.
            captions: Ids ``[P * samples, L]``, those of a picture together, padded with 0.
            samples: Samples per picture, at least 2.

        Returns:
            ``[P * samples]``, in CIDEr-D (0 to 10); the sum over a picture's samples is 0.
        """
        rows = [[id for id in row[1:] if id] for row in captions.tolist()]
        scores = torch.tensor(
            [
                self._scorer.score(self._places[picture], rows[i * samples : (i + 1) * samples])
                for i, picture in enumerate(pictures)
            ]
        )
        others = (scores.sum(1, keepdim=True) - scores) / (samples - 1)
        return (scores - others).flatten()


@torch.no_grad()
def draw_captions(
    model: RecognitionModel,
    memory: Tensor,
    mask: Tensor,
    *,
    start_id: int,
    end_id: int,
    banned: Sequence[int],
    limit: int,
    samples: int = 1,
) -> Tensor:
    """Sample captions from the model's distribution.

    Args:
        model: In any mode; the caller decides about dropout.
        memory: ``[R, M, width]`` from :meth:`~anytag.nn.model.RecognitionModel.fuse`.
        mask: ``[R, 1, 1, M]``.
        start_id: First id.
        end_id: Last id.
        banned: Ids that are never sampled.
        limit: Maximum length in ids, start and end included.
        samples: Samples per row.

    Returns:
        Ids ``[R * samples, L]``, those of a row together, padded with 0.
    """
    decoder = model.text_decoder
    keys_values, mask = _repeated(decoder.memory(memory), mask, samples)
    rows, heads = len(mask), decoder.heads
    empty = memory.new_zeros(rows, heads, 0, memory.shape[-1] // heads)
    past = [(empty, empty) for _ in decoder.layers]
    ids = torch.full((rows, 1), start_id)
    drawn = ids
    running = torch.ones(rows, dtype=torch.bool)
    for _ in range(limit - 1):
        logits, past = decoder.step(ids, past, keys_values, mask)
        logits = logits.float()
        logits[:, list(banned)] = -torch.inf
        # One random number per row; torch.multinomial draws one per piece of the vocabulary.
        sums = logits.softmax(-1).cumsum(-1)
        ids = torch.searchsorted(sums, sums[:, -1:] * (1 - torch.rand(rows, 1)))
        ids[~running] = 0
        drawn = torch.cat([drawn, ids], 1)
        running &= ids[:, 0] != end_id
        if not running.any():
            break
    return drawn


def consensus_loss(
    model: RecognitionModel, memory: Tensor, mask: Tensor, captions: Tensor, advantages: Tensor
) -> Tensor:
    """Policy-gradient loss: minus advantage ``[R * samples]`` times log probability, mean over the sampled ids.

    The other arguments are as in :func:`draw_captions`, with the model in train mode.
    """
    keys_values, mask = _repeated(model.text_decoder.memory(memory), mask, len(captions) // len(memory))
    hidden = model.text_decoder(captions[:, :-1], keys_values, mask)
    targets = captions[:, 1:]
    counted = targets != 0
    logits = model.text_decoder.logits(hidden[counted]).float()
    chosen = logits.log_softmax(-1).gather(1, targets[counted][:, None]).squeeze(1)
    weights = advantages[:, None].expand_as(targets)[counted]
    return -(weights * chosen).mean()


def _repeated(memory: list[KeysValues], mask: Tensor, times: int) -> tuple[list[KeysValues], Tensor]:
    """Repeat keys, values and mask for all samples of a picture."""
    if times == 1:
        return memory, mask
    again = [(keys.repeat_interleave(times, 0), values.repeat_interleave(times, 0)) for keys, values in memory]
    return again, mask.repeat_interleave(times, 0)
