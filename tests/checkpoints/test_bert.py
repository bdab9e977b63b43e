"""BERT's weights in the text parts of a new model."""

from __future__ import annotations

import pytest
import torch
from fixtures_official import small_model
from safetensors.torch import save_file

from anytag.checkpoints.bert import load_bert
from anytag.errors import ModelError

#: The sizes of the small models; BERT has two words fewer.
WIDTH, INNER, WORDS, POSITIONS = 8, 12, 38, 40


def bert(layers=4, width=WIDTH, old_names=False, **changes):
    """A random BERT with its language model's head, by the names of ``transformers``."""
    torch.manual_seed(1)
    norm = ("gamma", "beta") if old_names else ("weight", "bias")
    shapes = {
        "bert.embeddings.word_embeddings.weight": (WORDS, width),
        "bert.embeddings.position_embeddings.weight": (POSITIONS, width),
        "bert.embeddings.token_type_embeddings.weight": (2, width),
        "bert.pooler.dense.weight": (width, width),
        "cls.predictions.bias": (WORDS,),
        "cls.predictions.transform.dense.weight": (width, width),
        "cls.predictions.transform.dense.bias": (width,),
        "cls.seq_relationship.weight": (2, width),
    }
    for part in ("bert.embeddings.LayerNorm", "cls.predictions.transform.LayerNorm"):
        shapes |= {f"{part}.{leaf}": (width,) for leaf in norm}
    for layer in range(layers):
        prefix = f"bert.encoder.layer.{layer}"
        for part in ("query", "key", "value"):
            shapes |= {f"{prefix}.attention.self.{part}.weight": (width, width)}
            shapes |= {f"{prefix}.attention.self.{part}.bias": (width,)}
        for part, (rows, columns) in {
            "attention.output.dense": (width, width),
            "intermediate.dense": (INNER, width),
            "output.dense": (width, INNER),
        }.items():
            shapes |= {f"{prefix}.{part}.weight": (rows, columns), f"{prefix}.{part}.bias": (rows,)}
        for part in ("attention.output.LayerNorm", "output.LayerNorm"):
            shapes |= {f"{prefix}.{part}.{leaf}": (width,) for leaf in norm}
    return {name: torch.randn(shape) for name, shape in shapes.items()} | changes


@pytest.mark.parametrize("old_names", [False, True])
def test_every_text_part_begins_as_bert(tmp_path, old_names):
    state = bert(old_names=old_names)
    save_file(state, tmp_path / "model.safetensors")
    model, before = small_model("ram"), small_model("ram")
    load_bert(tmp_path, model)
    weight = "gamma" if old_names else "weight"
    interaction, decoder = model.interaction_encoder, model.text_decoder
    for stack in (interaction, decoder):
        own = stack.layers[1].self_attention
        assert torch.equal(own.query.weight, state["bert.encoder.layer.1.attention.self.query.weight"])
        assert torch.equal(own.norm.weight, state[f"bert.encoder.layer.1.attention.output.LayerNorm.{weight}"])
        assert torch.equal(stack.embedding.words.weight[:WORDS], state["bert.embeddings.word_embeddings.weight"])
    # Shared with the interaction encoder's lowest layers.
    inner = model.recognition_decoder.layers[1].feed_forward.inner.weight
    assert torch.equal(inner, state["bert.encoder.layer.1.intermediate.dense.weight"])
    assert torch.equal(interaction.layers[2].feed_forward.output.bias, state["bert.encoder.layer.2.output.dense.bias"])
    assert torch.equal(decoder.transform.weight, state["cls.predictions.transform.dense.weight"])
    assert torch.equal(decoder.bias[:WORDS], state["cls.predictions.bias"])
    # What BERT has not, stays: cross-attention, and the two tokens that its vocabulary lacks.
    for name in ("text_decoder.layers.0.cross_attention.key.weight", "image_projection.weight"):
        assert torch.equal(model.get_parameter(name), before.get_parameter(name)), name
    assert torch.equal(decoder.embedding.words.weight[WORDS:], before.text_decoder.embedding.words.weight[WORDS:])


def test_ram_plus_has_the_recognition_decoder_alone(tmp_path):
    save_file(bert(), tmp_path / "model.safetensors")
    model = small_model("ram_plus")
    # Two layers of feed-forward: two linear layers and a normalization each.
    assert load_bert(tmp_path, model) == 2 * 6


@pytest.mark.parametrize(
    ("state", "message"),
    [
        (bert(width=16), "the model is not of BERT's size"),
        ({"visual.weight": torch.zeros(1)}, "has no word embeddings, so it is not a BERT"),
    ],
)
def test_what_does_not_fit_is_refused(tmp_path, state, message):
    save_file(state, tmp_path / "model.safetensors")
    with pytest.raises(ModelError, match=message):
        load_bert(tmp_path, small_model("ram"))


def test_a_missing_file(tmp_path):
    with pytest.raises(ModelError, match="give a folder of bert-base-uncased"):
        load_bert(tmp_path, small_model("ram"))
