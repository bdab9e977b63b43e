"""Learning from a caption's score instead of its words: self-critical training (Rennie et al., 2017).

Language modeling learns every next word after a human's words; a caption is judged whole, after the model's own.
So captions are drawn from the model, scored by CIDEr-D against the picture's references, and made likelier by as much
as they beat the other draws for that picture (the baseline of Luo, 2020). Scores are taken over word pieces with the
end token, without which endings such as "a man in a" would pay.
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
    """Scores drawn captions against the references of training pictures.

    Args:
        pictures: All training pictures; those with a single caption give no consensus and are never scored.
        start_id: Id that every caption starts with.
        end_id: Id that every caption ends with.
    """

    def __init__(self, pictures: Sequence[PictureRecord], start_id: int, end_id: int):
        self.start_id, self.end_id = start_id, end_id
        several = [index for index, picture in enumerate(pictures) if len(picture.captions) > 1]
        self._places = {index: place for place, index in enumerate(several)}
        self._scorer = CiderD([[c.ids[1:] for c in pictures[index].captions] for index in several])

    def scorable(self, picture: int) -> bool:
        """Whether the picture has several captions."""
        return picture in self._places

    def advantages(self, pictures: Sequence[int], captions: Tensor, samples: int) -> Tensor:
        """How much better each draw is than the others for its picture.

        Args:
            pictures: ``P`` training pictures.
            captions: ``[P * samples, L]`` ids, those of a picture together, padded with 0.
            samples: Draws a picture, at least 2.

        Returns:
            ``[P * samples]``, in CIDEr-D (0 to 10); the sum over a picture's draws is 0.
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
    """Captions drawn from the model's distribution.

    Args:
        model: In any mode; the caller decides about dropout.
        memory: ``[R, M, width]`` from :meth:`~anytag.nn.model.RecognitionModel.fuse`.
        mask: ``[R, 1, 1, M]``.
        start_id: First id.
        end_id: Last id.
        banned: Ids that are never drawn.
        limit: Most ids of a caption, start and end included.
        samples: Draws a row.

    Returns:
        ``[R * samples, L]`` ids, those of a row together, padded with 0.
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
        # One random number a row; torch.multinomial draws one for every piece of the vocabulary.
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
    """Policy-gradient loss: minus advantage times log probability, mean over the drawn ids.

    Args:
        model: In train mode.
        memory: ``[R, M, width]``, with gradients.
        mask: ``[R, 1, 1, M]``.
        captions: ``[R * samples, L]`` drawn ids, those of a row together, padded with 0.
        advantages: ``[R * samples]``.
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
    """What all draws of a picture look at, made once."""
    if times == 1:
        return memory, mask
    again = [(keys.repeat_interleave(times, 0), values.repeat_interleave(times, 0)) for keys, values in memory]
    return again, mask.repeat_interleave(times, 0)
