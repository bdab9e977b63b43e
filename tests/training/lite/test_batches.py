"""Batches: reproducible, complete, with every positive."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
import torch
from fixtures_torch import tiny_tokenizer

from anytag.errors import UsageError
from anytag.model.vocabulary import TagVocabulary, VocabularyTag
from anytag.training.families.feature_cache import CachedShard
from anytag.training.lite.batches import CaptionRecord, LiteBatches, PictureRecord, TagPrompts, TrainingPairs, pad
from anytag.training.recipes.config import LiteConfig, TrainingConfig, TrainingStage

NAMES = ("animal", "dog", "cat", "run", "grass", "red", "big", "the")
VOCABULARY = TagVocabulary(
    VocabularyTag(i, name, "object", implies=(0,) if name in ("dog", "cat") else ()) for i, name in enumerate(NAMES)
)
SIZE = 10


@pytest.fixture
def pairs():
    # Every entry of picture n's map is n; the second view adds 100, and columns add a tenth each.
    plain = np.arange(SIZE, dtype=np.float16)[:, None, None, None] + np.array([0, 0.1], np.float16)[:, None]
    plain = np.broadcast_to(plain, (SIZE, 1, 2, 3))
    records = [{"id": str(n)} for n in range(SIZE)]
    shards = [
        CachedShard("a", records[:4], [plain[:4], plain[:4] + 100], np.zeros((4, 1))),
        CachedShard("b", records[4:], [plain[4:], plain[4:] + 100], np.zeros((6, 1))),
    ]
    pictures = [
        PictureRecord(
            np.array(sorted({0, 1 + n % 2})),
            [CaptionRecord([7, 10 + n, 8], (1 + n % 2, 3, 4)), CaptionRecord([7, 30 + n, 31, 8], (5,))],
            range(2 * n, 2 * n + 2),
        )
        for n in range(SIZE)
    ]
    return TrainingPairs(shards, pictures, torch.arange(2.0 * SIZE)[:, None])


def batcher(pairs, texts=(), **changes):
    """Batches of a small run, with a shortcut to those of its stage."""
    objective = {"negatives": 2, "no_tags": 0.2, "found_tags": 0.3, "found_most": 6}
    objective |= {name: changes.pop(name) for name in set(objective) & set(changes)}
    settings = {"batch_size": 4, "text_batch_size": 3, "views": 2, "seed": 1} | changes
    stages = (TrainingStage(name="all", epochs=1, cached="maps"),)
    config = TrainingConfig(
        name="x", start="lite", sources=("a",), objective=LiteConfig(**objective), stages=stages, **settings
    )
    return LiteBatches(pairs, texts, len(VOCABULARY), config)


def batch(batches, step, **changes):
    """A batch of the run's stage, or of one that differs."""
    return batches.draw(step, batches.config.stages[0].model_copy(update=changes))


def flat(batch):
    return {name: getattr(batch, name) for name in batch.__dataclass_fields__}


def same(first, second):
    return all(
        torch.equal(a, b)
        if isinstance(a, torch.Tensor)
        else np.array_equal(a, b)
        if isinstance(a, np.ndarray)
        else a == b
        for a, b in zip(flat(first).values(), flat(second).values(), strict=True)
    )


class TestPairs:
    def test_maps_of_a_view_and_mirrored(self, pairs):
        maps = pairs.maps([2, 7], [0, 1], [False, True])
        assert maps.shape == (2, 3, 1, 2)
        assert maps[0, 0, 0].tolist() == pytest.approx([2, 2.1], abs=1e-2)
        # Picture 7 is in the second shard; flipping swaps its columns.
        assert maps[1, 0, 0].tolist() == pytest.approx([107.1, 107], abs=0.1)
        assert maps[1, 0, 0, 0] > maps[1, 0, 0, 1]

    def test_annotations_have_to_fit(self, pairs):
        with pytest.raises(ValueError, match=r"^10 cached pictures but 9 annotated ones$"):
            TrainingPairs([shard for shard, _ in pairs._places[::5]], pairs.pictures[:9], pairs.caption_embeddings)

    def test_padding(self):
        assert pad([[1, 2], [], [3]]).tolist() == [[1, 2], [0, 0], [3, 0]]
        assert pad([]).shape == (0, 0)


class TestBatcher:
    def test_the_same_step_gives_the_same_batch(self, pairs):
        texts = [CaptionRecord([7, n, 8], (n,)) for n in range(5)]
        first, second = batcher(pairs, texts), batcher(pairs, texts)
        assert same(batch(second, 7), batch(first, 7))
        assert not same(batch(first, 7), batch(first, 6))
        assert not same(batch(first, 7), batch(batcher(pairs, texts, seed=2), 7))

    def test_every_epoch_is_a_new_permutation_without_its_remainder(self, pairs):
        drawn = batcher(pairs, batch_size=3)
        assert drawn.steps_per_epoch == 3
        epochs = [np.concatenate([drawn.indices(epoch * 3 + step) for step in range(3)]) for epoch in range(20)]
        for epoch in epochs:
            assert len(set(epoch.tolist())) == 9
        assert not np.array_equal(epochs[0], epochs[1])
        # Epochs do not always drop the same picture.
        assert {n for epoch in epochs for n in epoch.tolist()} == set(range(SIZE))

    def test_a_share_of_the_batch_may_come_from_pictures_with_several_captions(self, pairs):
        pictures = [replace(p, captions=p.captions[: 1 + (n in (2, 5, 9))]) for n, p in enumerate(pairs.pictures)]
        some = TrainingPairs([shard for shard, _ in pairs._places[::4][:2]], pictures, pairs.caption_embeddings)
        drawn = [batcher(some).indices(step, several=0.5) for step in range(20)]
        assert all(len(chosen) == 4 and len(set(chosen[:2]) & {2, 5, 9}) == 2 for chosen in drawn)
        assert {n for chosen in drawn for n in chosen[2:].tolist()} == set(range(SIZE))
        assert not np.array_equal(drawn[0], drawn[4])

    def test_a_stage_may_draw_other_guidance_than_the_run(self, pairs):
        assert set(batch(batcher(pairs), 0, objective=LiteConfig(no_tags=1, found_tags=0)).guidance) == {"none"}

    def test_all_positives_are_scored_and_negatives_too(self, pairs):
        for step in range(10):
            made = batch(batcher(pairs), step)
            tags = made.tag_ids.tolist()
            assert tags == sorted(set(tags))
            for row, index in enumerate(made.indices):
                positive = {tags[i] for i in torch.nonzero(made.tags[row]).flatten().tolist()}
                assert positive == set(pairs.pictures[index].tags.tolist())
        asked = Counter(tag for step in range(60) for tag in batch(batcher(pairs), step).tag_ids.tolist())
        assert set(asked) == set(range(len(NAMES)))

    def test_more_negatives_than_tags_are_all_of_them(self, pairs):
        assert batch(batcher(pairs, negatives=99), 0).tag_ids.tolist() == list(range(len(NAMES)))

    def test_caption_tags_and_embedding_belong_together(self, pairs):
        for step in range(10):
            made = batch(batcher(pairs), step)
            for row, index in enumerate(made.indices.tolist()):
                which = int(made.text_embeddings[row, 0]) - 2 * index
                record = pairs.pictures[index].captions[which]
                assert [i for i in made.captions[row].tolist() if i] == record.ids
                assert set(made.caption_tags[row]) <= set(record.tags)

    def test_maps_are_those_of_the_pictures(self, pairs):
        made = batch(batcher(pairs), 0)
        values = made.maps[:, 0, 0].min(1).values
        assert [round(float(v)) % 100 for v in values] == made.indices.tolist()
        assert batch(batcher(pairs), 0, cached="recognition").maps is None

    def test_shares_of_guidance(self, pairs):
        drawn = batcher(pairs)
        kinds = Counter(kind for step in range(500) for kind in batch(drawn, step, cached="recognition").guidance)
        shares = {kind: count / 2000 for kind, count in kinds.items()}
        # Two thousand draws: three standard deviations are .03.
        assert shares == pytest.approx({"none": 0.2, "found": 0.3, "given": 0.5}, abs=0.035)

    def test_how_many_found_tags(self, pairs):
        drawn = batcher(pairs)
        counts = {count for step in range(60) for count in batch(drawn, step, cached="recognition").found_counts}
        assert counts == {3, 4, 5, 6}

    def test_most_tags_are_kept_in_any_order(self, pairs):
        drawn = batcher(pairs)
        lists = [
            tags
            for step in range(100)
            for tags in batch(drawn, step, cached="recognition").caption_tags
            if len(tags) > 1
        ]
        assert any(tags != tuple(sorted(tags)) for tags in lists)
        assert any(len(tags) == 3 for tags in lists)

    def test_texts_without_pictures(self, pairs):
        texts = [CaptionRecord([7, 40 + n, 8], (n,)) for n in range(5)]
        made = batch(batcher(pairs, texts), 0)
        assert made.lone_captions.shape == (3, 3)
        assert len(made.lone_tags) == 3
        assert batch(batcher(pairs, texts[:2]), 0).lone_captions.shape == (2, 3)
        none = batch(batcher(pairs), 0)
        assert (len(none.lone_captions), none.lone_tags) == (0, [])

    def test_too_few_pictures_for_a_batch(self, pairs):
        with pytest.raises(UsageError, match=r"^batch_size 11 is more than the 10 training pictures$"):
            batcher(pairs, batch_size=11)


class TestPrompts:
    def test_leaves_keep_their_order(self):
        prompts = TagPrompts(VOCABULARY, tiny_tokenizer(), 32)
        assert prompts.leaves([3, 0, 2, 1]) == [3, 2, 1]
        assert prompts.leaves([0]) == [0]
        assert prompts.leaves([]) == []

    def test_lists_are_the_tokenizer_s(self):
        tokenizer = tiny_tokenizer()
        prompts = TagPrompts(VOCABULARY, tokenizer, 5)
        dog, cat = tokenizer.encode("dog"), tokenizer.encode("cat")
        bar = tokenizer.separator_id
        assert (len(dog), len(cat)) == (1, 1)
        assert prompts.join([1, 2, 3], given=True) == [tokenizer.given_id, *dog, bar, *cat, bar]
        assert prompts.join([2], given=False) == [tokenizer.found_id, *cat, bar]
