"""Tag2Text, RAM and RAM++, put together from their config, against what the reference computes."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from oracle_sets import OracleSet, asked_decoding, each_oracle_set, near_norm, written_ids
from torch.nn import functional as F

from anytag.checkpoints.convert import rename_state
from anytag.inference.generation import generate
from anytag.nn.losses import asymmetric_loss, language_modeling_loss, rescaled
from anytag.nn.model import RecognitionModel


def close(got, expected, atol=1e-4):
    torch.testing.assert_close(got, expected, rtol=0, atol=atol)


def config_of(oracle_set: OracleSet):
    return oracle_set.model_config


_MADE: dict[str, RecognitionModel] = {}


def model_of(oracle_set: OracleSet) -> RecognitionModel:
    if oracle_set.name not in _MADE:
        config = config_of(oracle_set)
        model = RecognitionModel(config, oracle_set.config["num_tags"])
        state = rename_state(oracle_set.weights, config, oracle_set.config["num_tags"])
        missing, unexpected = model.load_state_dict(state, strict=False)
        assert not unexpected
        # Shared modules are filled under one of their names; nothing else may be missing.
        assert all(name.startswith("interaction_encoder.layers.") for name in missing)
        _MADE[oracle_set.name] = model.eval()
    return _MADE[oracle_set.name]


@each_oracle_set()
class TestTagging:
    @torch.no_grad()
    def test_every_step_from_picture_to_logits(self, oracle_set):
        model, io = model_of(oracle_set), oracle_set.io
        tokens = model.image_encoder(io["image"])
        close(torch.cat([tokens.mean(1, keepdim=True), tokens], 1), io["out.visual_encoder"])
        features, classes = model.encode(io["image"])
        assert classes.shape == (len(io["image"]), 0)
        if "out.image_proj" in io:
            close(features, io["out.image_proj"])
        labels = model.label_queries
        queries = labels(features[:, 0]) if oracle_set.kind == "ram_plus" else labels()
        if "out.tagging_query" in io:
            close(queries, io["out.tagging_query"])
        close(model.recognition_decoder.embed(features, queries), io["out.tagging_embed"])
        close(model.recognize(features), io["out.logits"])

    @torch.no_grad()
    def test_some_tags_score_as_among_all(self, oracle_set):
        model, io = model_of(oracle_set), oracle_set.io
        ids = torch.tensor([7, 2, 11])
        features, _ = model.encode(io["image"])
        close(model.recognize(features, ids), io["out.logits"][:, ids])

    @torch.no_grad()
    def test_the_tags_that_fire(self, oracle_set):
        fired = (oracle_set.io["out.sigmoid"] > torch.tensor(oracle_set.config["class_threshold"])).tolist()
        model = model_of(oracle_set)
        scores = model.recognize(model.encode(oracle_set.io["image"])[0]).sigmoid()
        ours = (scores > torch.tensor(oracle_set.config["class_threshold"])).tolist()
        assert ours == fired
        if oracle_set.kind != "tag2text":
            expected = oracle_set.expected["tags_fired"]
            assert [[i for i, hit in enumerate(row) if hit] for row in ours] == expected


@each_oracle_set("ram", "ram_plus")
@torch.no_grad()
def test_categories_that_were_never_trained(oracle_set):
    model, io = model_of(oracle_set), oracle_set.io
    embeddings = io["openset.label_embed"]
    features, _ = model.encode(io["image"])
    labels = model.label_queries
    if oracle_set.kind == "ram_plus":
        count = oracle_set.expected["openset"]["des_per_class"]
        mixed = labels.mix(features[:, 0], embeddings.reshape(-1, count, embeddings.shape[-1]))
        queries = labels.project(mixed)
    else:
        queries = labels.project(embeddings)
    close(model.recognition_decoder(features, queries), io["openset.logits"])


@each_oracle_set("tag2text", "ram")
class TestCaptioner:
    @torch.no_grad()
    def test_the_interaction_encoder(self, oracle_set):
        model, io = model_of(oracle_set), oracle_set.io
        ids = torch.tensor(oracle_set.expected["train"]["tag_encoder_input_ids"])
        features, _ = model.encode(io["image"])
        close(model.interaction_encoder(ids, features), io["train.tag_encoder_out"])

    @torch.no_grad()
    def test_next_word_logits(self, oracle_set):
        model, io, train = model_of(oracle_set), oracle_set.io, oracle_set.expected["train"]
        captions = torch.tensor(train["decoder_input_ids"])
        features, _ = model.encode(io["image"])
        memory, mask = model.fuse(torch.tensor(train["tag_encoder_input_ids"]), features)
        hidden = model.text_decoder(captions, model.text_decoder.memory(memory), mask)
        logits = model.text_decoder.logits(hidden)
        counted = torch.tensor(train["decoder_attention_mask"]).bool()
        close(logits[..., io["train.lm_logits_subset_ids"]][counted], io["train.lm_logits_subset"][counted])
        close(logits.logsumexp(-1)[counted], io["train.lm_logits_logsumexp"][counted])
        assert torch.equal(logits.argmax(-1)[counted], io["train.lm_logits_argmax"][counted])

    def test_shared_layers_stay_shared(self, oracle_set):
        model = copy.deepcopy(model_of(oracle_set))
        pairs = zip(model.recognition_decoder.layers, model.interaction_encoder.layers, strict=False)
        for below, above in pairs:
            assert below.cross_attention is above.cross_attention
            assert below.feed_forward is above.feed_forward


def losses_of(oracle_set: OracleSet, model: RecognitionModel) -> dict[str, torch.Tensor]:
    io, train = oracle_set.io, oracle_set.expected["train"]
    features, _ = model.encode(io["image"])
    logits = model.recognize(features)
    losses = {"tag": asymmetric_loss(logits, io["train.image_tag"])}
    if oracle_set.kind != "ram_plus":
        memory, mask = model.fuse(torch.tensor(train["tag_encoder_input_ids"]), features)
        captions = torch.tensor(train["decoder_input_ids"])
        hidden = model.text_decoder(captions[:, :-1], model.text_decoder.memory(memory), mask)
        targets = torch.tensor(train["decoder_labels"])[:, 1:]
        losses["t2t"] = language_modeling_loss(model.text_decoder.logits(hidden), targets)
    if oracle_set.kind != "tag2text":
        losses["dis"] = F.l1_loss(features[:, 0], io["train.clip_feature"])
    if oracle_set.kind == "ram_plus":
        queries = model.label_queries.project(io["train.text_embed"])
        aligned = model.recognition_decoder(features, queries)
        losses["alignment"] = asymmetric_loss(aligned, torch.eye(len(aligned)), gamma_negative=4)
    return losses


@each_oracle_set()
def test_losses_and_every_gradient(oracle_set):
    model = copy.deepcopy(model_of(oracle_set)).requires_grad_(True)
    losses = losses_of(oracle_set, model)
    expected = oracle_set.expected["train"]
    for name, value in expected["losses"].items():
        assert losses[name.removeprefix("loss_")].item() == pytest.approx(value, rel=1e-4)
    if "t2t" in losses:
        losses["tag"] = rescaled(losses["tag"], losses["t2t"])
    total = sum(losses.values())
    assert total.item() == pytest.approx(expected["total"], rel=1e-4)
    total.backward()
    gradients = {name: p.grad for name, p in model.named_parameters() if p.grad is not None}
    norms = rename_norms(oracle_set, expected["grad_norms"])
    for name, norm in norms.items():
        assert gradients[name].norm().item() == near_norm(name, norm), name
    stored = {name.removeprefix("grad."): g for name, g in oracle_set.io.items() if name.startswith("grad.")}
    assert stored
    for official, gradient in stored.items():
        ours = gradients[rename_name(oracle_set, official)]
        scale = gradient.abs().max().clamp(min=1e-6)
        close(ours.reshape(gradient.shape) / scale, gradient / scale, atol=1e-3)


def rename_name(oracle_set: OracleSet, official: str) -> str:
    from anytag.checkpoints.official_keys import official_key

    aliases = oracle_set.config["state"]["aliases"]
    tied = {target: alias for alias, target in aliases.items()}
    name = official_key(official) or official_key(tied.get(official, aliases.get(official, official)))
    assert name is not None, official
    return name


def rename_norms(oracle_set: OracleSet, norms: dict[str, float]) -> dict[str, float]:
    return {rename_name(oracle_set, official): norm for official, norm in norms.items()}


@each_oracle_set("tag2text")
class TestCaptions:
    """Token for token what transformers 4.25.1 gave through the reference."""

    @torch.no_grad()
    def test_every_case(self, oracle_set):
        model = model_of(oracle_set)
        tokenizer = oracle_set.tokenizer
        features, _ = model.encode(oracle_set.io["image"])
        for name, case in oracle_set.expected["captions"].items():
            asked = case["generate_kwargs"]
            options = asked_decoding(case)
            made = generate(
                step_of(model, torch.tensor(case["tag_encoder_input_ids"]), features, options.rows_per_picture),
                np.array(case["prompt_ids"]),
                num_pictures=len(features),
                eos_id=asked["eos_token_id"],
                pad_id=asked["pad_token_id"],
                options=options,
            )
            assert [list(result.tokens) for result in made] == written_ids(case), name
            if case["sequences_scores"] is not None:
                np.testing.assert_allclose([r.score for r in made], case["sequences_scores"], atol=1e-4)
            texts = [tokenizer.decode_caption(result.tokens, official=True) for result in made]
            assert texts == case["captions"], name


def step_of(model, tag_ids, features, rows):
    fused, mask = model.fuse(tag_ids, features)
    fused, mask = fused.repeat_interleave(rows, 0), mask.repeat_interleave(rows, 0)
    memory, heads = model.text_decoder.memory(fused), model.text_decoder.heads
    layers, depth = range(len(memory)), model.config.width // heads

    def step(ids, cache):
        empty = torch.zeros(len(ids), heads, 0, depth)
        past = [
            (torch.from_numpy(cache[f"k{i}"]), torch.from_numpy(cache[f"v{i}"])) if cache else (empty, empty)
            for i in layers
        ]
        logits, grown = model.text_decoder.step(torch.from_numpy(ids), past, memory, mask)
        kept = {f"k{i}": k.numpy() for i, (k, _) in enumerate(grown)}
        return logits.numpy(), kept | {f"v{i}": v.numpy() for i, (_, v) in enumerate(grown)}

    return step
