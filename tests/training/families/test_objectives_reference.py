"""The official objectives against the reference's losses and gradients."""

from __future__ import annotations

import pytest
import torch
from oracle_sets import OracleSet, each_oracle_set, near_norm
from torch import nn

from anytag.checkpoints.convert import rename_state
from anytag.checkpoints.official_keys import official_key
from anytag.nn.model import RecognitionModel
from anytag.training.families.batch import Batch, caption_tensors
from anytag.training.families.objectives import RamObjective, RamPlusObjective, Tag2TextObjective
from anytag.training.recipes.config import RamConfig, RamPlusConfig, Tag2TextConfig


class TestAgainstTheReference:
    """Tag2Text's official objective has no contrast and no matching; the others are complete."""

    @each_oracle_set()
    def test_losses_total_and_every_gradient(self, oracle_set):
        model = model_of(oracle_set)
        expected = oracle_set.expected["train"]
        total, parts = objective_of(oracle_set)(model, batch_of(oracle_set))
        names = {"t2t": "captioning", "tag": "tagging", "dis": "distillation", "alignment": "alignment"}
        assert len(parts) == len(expected["losses"])
        for name, value in expected["losses"].items():
            assert parts[names[name.removeprefix("loss_")]] == pytest.approx(value, rel=1e-4), name
        assert total.item() == pytest.approx(expected["total"], rel=1e-4)
        total.backward()
        gradients = {name: p.grad for name, p in model.named_parameters() if p.grad is not None}
        assert len(expected["grad_norms"]) > 50
        for official, norm in expected["grad_norms"].items():
            name = our_name(oracle_set, official)
            assert gradients[name].norm().item() == near_norm(name, norm), official

    @each_oracle_set("tag2text", "ram")
    def test_captions_are_encoded_as_the_released_training_does(self, oracle_set):
        train = oracle_set.expected["train"]
        tensors = caption_tensors(oracle_set.tokenizer, train["captions"], [[]] * len(train["captions"]), official=True)
        assert tensors["captions"].tolist() == train["decoder_input_ids"]


def model_of(oracle_set: OracleSet) -> RecognitionModel:
    given, config = oracle_set.config, oracle_set.model_config
    model = RecognitionModel(config, given["num_tags"]).eval()
    model.load_state_dict(rename_state(oracle_set.weights, config, given["num_tags"]), strict=False)
    return model.requires_grad_(True)  # the vectors' label embeddings learn, too


def our_name(oracle_set: OracleSet, official: str) -> str:
    aliases = oracle_set.config["state"]["aliases"]
    tied = {target: alias for alias, target in aliases.items()} | aliases
    name = official_key(official) or official_key(tied[official])
    assert name is not None, official
    return name


def objective_of(oracle_set: OracleSet) -> nn.Module:
    if oracle_set.kind == "ram_plus":
        return RamPlusObjective(RamPlusConfig())
    if oracle_set.kind == "ram":
        return RamObjective(RamConfig(official=True), oracle_set.tokenizer)
    return Tag2TextObjective(Tag2TextConfig(official=True), oracle_set.tokenizer)


def batch_of(oracle_set: OracleSet) -> Batch:
    io, train = oracle_set.io, oracle_set.expected["train"]
    words = {
        name: torch.tensor(train[given])
        for name, given in (("captions", "decoder_input_ids"), ("tag_tokens", "tag_encoder_input_ids"))
        if given in train
    }
    return Batch(
        io["image"],
        io["train.image_tag"],
        teacher=io.get("train.clip_feature"),
        text_embeddings=io.get("train.text_embed"),
        **words,
    )
