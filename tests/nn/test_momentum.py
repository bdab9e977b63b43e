"""Momentum copies, queues that wrap, the soft labels' ramp, and resuming to the bit."""

from __future__ import annotations

import copy

import pytest
import torch
from fixtures_official import SIDE, small_model
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from torch import nn

from anytag.nn.alignment import AlignmentEncoder, contrastive_loss
from anytag.nn.momentum import (
    EMPTY,
    UNKNOWN,
    FeatureQueue,
    MomentumConfig,
    MomentumContrast,
    MomentumCopy,
    soft_label_share,
)


class TestCopy:
    def test_by_hand(self):
        original = nn.Linear(1, 1)
        nn.init.constant_(original.weight, 2.0)
        nn.init.constant_(original.bias, -1.0)
        slow = MomentumCopy(original)
        nn.init.constant_(original.weight, 4.0)
        slow.update(original, 0.75)
        assert slow.module.weight.item() == 2.5  # 0.75 * 2 + 0.25 * 4
        assert slow.module.bias.item() == -1.0
        slow.update(original, 0.75)
        assert slow.module.weight.item() == 2.875
        assert slow.module(torch.ones(1)).item() == 1.875

    def test_it_has_buffers_only_and_shares_no_memory(self):
        original = nn.Sequential(nn.Linear(2, 3), nn.LayerNorm(3))
        slow = MomentumCopy(original)
        assert not list(slow.parameters())
        assert {f"module.{name}" for name in original.state_dict()} == set(slow.state_dict())
        before = slow.module[0].weight.clone()
        with torch.no_grad():
            original[0].weight.add_(1)
        assert torch.equal(slow.module[0].weight, before)
        assert not slow.module(torch.ones(1, 2)).requires_grad

    def test_parts_left_out_are_not_there(self):
        original = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
        slow = MomentumCopy(original, [original[1]])
        assert slow.module[1] is None
        assert slow.names == ["0.weight", "0.bias"]
        slow.update(original, 0.5)
        assert original[1] is not None

    def test_gradients_of_the_original_are_not_copied_and_not_touched(self):
        original = nn.Linear(2, 1)
        original(torch.ones(1, 2)).sum().backward()
        gradient = original.weight.grad.clone()
        slow = MomentumCopy(original)
        slow.update(original, 0.5)
        assert torch.equal(original.weight.grad, gradient)
        assert slow.module.weight.grad is None


def rows(start, count):
    """Embeddings that tell which row of the stream they are: width 1, pictures i, texts -i."""
    numbers = torch.arange(start, start + count)
    return numbers[:, None].float(), -numbers[:, None].float(), numbers


class TestQueue:
    def test_by_hand(self):
        queue = FeatureQueue(5, 1)
        assert queue.filled()[0].shape == (0, 1)
        queue.put(*rows(0, 3))
        assert queue.numbers.tolist() == [0, 1, 2, EMPTY, EMPTY]
        assert queue.filled()[0].flatten().tolist() == [0, 1, 2]
        queue.put(*rows(3, 3))  # the third goes round the end
        assert queue.numbers.tolist() == [5, 1, 2, 3, 4]
        assert queue.pictures.flatten().tolist() == [5, 1, 2, 3, 4]
        assert queue.texts.flatten().tolist() == [-5, -1, -2, -3, -4]
        assert queue.pointer.item() == 1

    def test_of_a_batch_larger_than_the_queue_the_last_rows_remain(self):
        queue = FeatureQueue(4, 1)
        queue.put(*rows(0, 3))
        queue.put(*rows(3, 10))
        assert sorted(queue.numbers.tolist()) == [9, 10, 11, 12]
        assert queue.numbers[queue.pointer].item() == 9  # the oldest is the next to go

    @settings(max_examples=100, deadline=None)
    @given(st.integers(1, 9), st.lists(st.integers(0, 14), max_size=8))
    def test_it_holds_the_end_of_the_stream_in_order(self, size, batches):
        queue, gone = FeatureQueue(size, 1), 0
        for count in batches:
            queue.put(*rows(gone, count))
            gone += count
        expected = list(range(max(0, gone - size), gone))
        in_order = queue.numbers.roll(-int(queue.pointer)).tolist()
        assert [number for number in in_order if number != EMPTY] == expected
        assert queue.pointer.item() == gone % size
        pictures, texts, numbers = queue.filled()
        assert sorted(numbers.tolist()) == expected
        assert pictures.flatten().tolist() == numbers.tolist()
        assert torch.equal(texts, -pictures)

    def test_none_at_all(self):
        queue = FeatureQueue(0, 3)
        queue.put(torch.ones(2, 3), torch.ones(2, 3), torch.tensor([1, 2]))
        assert [part.shape[0] for part in queue.filled()] == [0, 0, 0]

    def test_an_unknown_number_fills_a_slot(self):
        queue = FeatureQueue(2, 1)
        queue.put(torch.ones(1, 1), torch.ones(1, 1), torch.tensor([UNKNOWN]))
        assert queue.filled()[2].tolist() == [UNKNOWN]

    def test_its_state_is_in_its_buffers(self):
        queue, other = FeatureQueue(5, 1), FeatureQueue(5, 1)
        queue.put(*rows(0, 7))
        other.load_state_dict(queue.state_dict())
        for one in (queue, other):
            one.put(*rows(7, 4))
        assert all(torch.equal(a, b) for a, b in zip(queue.buffers(), other.buffers(), strict=True))


class TestRamp:
    @pytest.mark.parametrize(("step", "share"), [(0, 0.0), (50, 0.1), (100, 0.2), (199, 0.398), (200, 0.4), (900, 0.4)])
    def test_two_epochs_of_a_hundred_steps(self, step, share):
        assert soft_label_share(step, 200) == pytest.approx(share)

    def test_without_a_ramp_the_share_is_there_at_once(self):
        assert soft_label_share(0, 0, 0.3) == 0.3


class TestConfig:
    def test_published_numbers(self):
        config = MomentumConfig()
        assert (config.momentum, config.queue, config.soft_share, config.ramp_epochs) == (0.995, 57_600, 0.4, 2.0)

    @pytest.mark.parametrize("setting", [{"momentum": 1.5}, {"queue": -1}, {"soft_share": -0.1}, {"size": 3}])
    def test_others_are_refused(self, setting):
        with pytest.raises(ValidationError):
            MomentumConfig(**setting)


SETTINGS = MomentumConfig(momentum=0.9, queue=5, soft_share=0.4, ramp_epochs=2)


def whole(seed=0, config=SETTINGS, family="tag2text", dropout=0.0):
    model = small_model(family, seed, dropout=dropout)
    encoder = AlignmentEncoder(model.text_decoder, model.config.features, embedding=4, match_id=39)
    nn.init.normal_(encoder.picture_projection.weight)
    contrast = MomentumContrast(model, encoder, config, steps_per_epoch=2)
    return nn.ModuleDict({"model": model, "encoder": encoder, "contrast": contrast}).train()


def batch(step, size=3):
    generator = torch.Generator().manual_seed(step)
    pixels = torch.randn(size, 3, SIDE, SIDE, generator=generator)
    texts = torch.randint(5, 38, (size, 6), generator=generator)
    texts[:, 0] = 2
    return pixels, texts


def run(parts, pixels, texts, numbers=None):
    model = parts["model"]
    features, _ = model.encode(pixels)
    return parts["contrast"](model, parts["encoder"], pixels, features, texts, numbers)


def train(parts, steps, numbers=None):
    """Real steps, so that originals and copies part; gives the losses."""
    optimizer = torch.optim.SGD(parts.parameters(), lr=0.1)
    losses = []
    for step in steps:
        contrast, _ = run(parts, *batch(step), numbers)
        optimizer.zero_grad()
        contrast.loss.backward()
        optimizer.step()
        losses.append(contrast.loss.item())
    return losses


class TestContrast:
    def test_the_first_step_compares_with_the_batch_itself(self):
        parts = whole()
        pixels, texts = batch(0)
        contrast, keys = run(parts, pixels, texts)
        encoder = parts["encoder"]
        pictures = encoder.embed_pictures(parts["model"].encode(pixels)[0])
        torch.testing.assert_close(keys.pictures, pictures)  # copies start as their originals
        torch.testing.assert_close(keys.texts, encoder.embed_texts(texts))
        assert torch.equal(keys.positives, torch.eye(3, dtype=torch.bool))
        expected = contrastive_loss(pictures, keys.texts, keys, 0.07, soft_share=0.0).loss
        assert contrast.loss.item() == pytest.approx(expected.item(), rel=1e-6)

    @pytest.mark.parametrize("family", ["tag2text", "ram"])
    def test_the_copies_follow_the_model(self, family):
        parts = whole(family=family)
        before = copy.deepcopy(parts)
        train(parts, [0])
        run(parts, *batch(1))
        copies, model = parts["contrast"], parts["model"]
        old, new = (m["model"].image_encoder.norm.weight for m in (before, parts))
        assert not torch.equal(old, new)
        torch.testing.assert_close(copies.picture_copy.module.image_encoder.norm.weight, 0.9 * old + 0.1 * new)
        old, new = (m["encoder"].text_projection.weight for m in (before, parts))
        torch.testing.assert_close(copies.encoder_copy.module.text_projection.weight, 0.9 * old + 0.1 * new)
        assert (copies.picture_copy.module.text_decoder, copies.picture_copy.module.label_queries) == (None, None)
        assert model.text_decoder is not None
        assert parts["encoder"].layers[0].cross_attention is not None

    def test_a_step_meets_the_steps_before_it(self):
        parts = whole()
        first = run(parts, *batch(0))[1]
        second = run(parts, *batch(1))[1]
        assert second.pictures.shape == (6, 4)
        torch.testing.assert_close(second.pictures[3:], first.pictures)
        torch.testing.assert_close(second.texts[3:], first.texts)
        third = run(parts, *batch(2))[1]
        assert third.pictures.shape == (8, 4)  # five fit into the queue
        assert parts["contrast"].queue.pointer.item() == 4

    def test_soft_labels_come_by_and_by(self):
        parts = whole()
        for step, share in enumerate([0.0, 0.1, 0.2, 0.3, 0.4, 0.4]):
            model, encoder, (pixels, texts) = parts["model"], parts["encoder"], batch(step)
            contrast, keys = run(parts, pixels, texts)
            embedded = encoder.embed_pictures(model.encode(pixels)[0]), encoder.embed_texts(texts)
            expected = contrastive_loss(*embedded, keys, encoder.temperature, share).loss
            assert contrast.loss.item() == pytest.approx(expected.item(), rel=1e-5), step

    def test_the_same_picture_is_right_wherever_it_stands(self):
        parts = whole()
        run(parts, *batch(0), torch.tensor([7, 8, 9]))
        _, keys = run(parts, *batch(1), torch.tensor([9, 9, 1]))
        expected = torch.tensor([[1, 1, 0, 0, 0, 1], [1, 1, 0, 0, 0, 1], [0, 0, 1, 0, 0, 0]]).bool()
        assert torch.equal(keys.positives, expected)

    def test_pictures_without_numbers_are_never_the_same(self):
        parts = whole()
        run(parts, *batch(0))
        _, keys = run(parts, *batch(1), torch.tensor([UNKNOWN, 4, UNKNOWN]))
        assert torch.equal(keys.positives, torch.eye(3, 6).bool())

    def test_evaluation_changes_nothing(self):
        parts = whole()
        train(parts, range(3))
        parts.eval()
        before = copy.deepcopy(parts.state_dict())
        with torch.no_grad():
            run(parts, *batch(9))
        after = parts.state_dict()
        assert all(torch.equal(after[name], tensor) for name, tensor in before.items())

    def test_no_gradient_leaves_through_the_copies(self):
        parts = whole()
        train(parts, range(2))
        contrast, keys = run(parts, *batch(2))
        contrast.loss.backward()
        assert not keys.pictures.requires_grad
        assert not list(parts["contrast"].parameters())
        assert parts["encoder"].temperature.grad.item() != 0
        assert parts["model"].image_encoder.norm.weight.grad.any()

    def test_a_temperature_that_left_its_range_is_brought_back(self):
        parts = whole()
        with torch.no_grad():
            parts["encoder"].temperature.fill_(-3.0)
        contrast, _ = run(parts, *batch(0))
        assert parts["encoder"].temperature.item() == pytest.approx(0.001)
        assert contrast.loss.isfinite()

    def test_a_batch_without_texts_moves_the_copies_and_leaves_the_queue(self):
        parts = whole()
        train(parts, [0])
        pixels, texts = batch(1, size=3)
        contrast, keys = run(parts, pixels[:0], texts[:0])
        assert contrast.text_logits.shape == (0, 3)
        assert len(keys.pictures) == 3
        assert parts["contrast"].steps.item() == 2


def test_a_resumed_run_goes_on_to_the_bit():
    numbers = torch.tensor([3, 1, 3])
    straight = whole(dropout=0.1)
    torch.manual_seed(5)
    expected = train(straight, range(6), numbers)
    broken = whole(dropout=0.1)
    torch.manual_seed(5)
    train(broken, range(3), numbers)
    state, random = copy.deepcopy(broken.state_dict()), torch.get_rng_state()
    resumed = whole(seed=1, dropout=0.1)
    resumed.load_state_dict(state)
    torch.set_rng_state(random)
    assert train(resumed, range(3, 6), numbers) == expected[3:]
    after = resumed.state_dict()
    assert all(torch.equal(after[name], tensor) for name, tensor in straight.state_dict().items())


def _one_of_two(rank, folder, results):
    torch.set_num_threads(1)
    torch.distributed.init_process_group("gloo", init_method=f"file://{folder}/meeting", rank=rank, world_size=2)
    parts, losses = whole(), []
    for step in range(3):
        pixels, texts = batch(step, size=4)
        mine = slice(0, 3) if rank == 0 else slice(3, 4)  # of different sizes
        contrast, keys = run(parts, pixels[mine], texts[mine], torch.arange(4)[mine])
        contrast.loss.backward()
        losses.append((contrast.loss.item(), keys.first, tuple(keys.pictures.shape)))
    gradient = parts["encoder"].picture_projection.weight.grad
    torch.save((losses, gradient, parts["contrast"].queue.state_dict()), f"{results}/{rank}")
    torch.distributed.destroy_process_group()


def test_two_processes_contrast_as_one_does(tmp_path):
    torch.multiprocessing.spawn(_one_of_two, (str(tmp_path), str(tmp_path)), nprocs=2)
    (losses, gradient, queue), (others, other_gradient, other_queue) = (
        torch.load(tmp_path / str(rank), weights_only=True) for rank in range(2)
    )
    parts = whole()
    for step in range(3):
        contrast, keys = run(parts, *batch(step, size=4), torch.arange(4))
        contrast.loss.backward()
        (one, first, shape), (two, other_first, other_shape) = losses[step], others[step]
        assert (first, other_first) == (0, 3)
        assert shape == other_shape == tuple(keys.pictures.shape)
        assert (3 * one + two) / 4 == pytest.approx(contrast.loss.item(), rel=1e-5)
    expected = parts["encoder"].picture_projection.weight.grad
    torch.testing.assert_close((3 * gradient + other_gradient) / 4, expected, rtol=1e-4, atol=1e-6)
    for name, tensor in parts["contrast"].queue.state_dict().items():
        torch.testing.assert_close(queue[name], tensor)
        torch.testing.assert_close(other_queue[name], tensor)
