"""Grounding DINO of random weights and tiny sizes."""

import numpy as np
import pytest
from conftest import require_module
from fixtures_toy import plain
from toy_engine import RED

from anytag.data_engine.grounding_dino import GroundingDinoRegions
from anytag.errors import ModelError
from anytag.model.vocabulary import VocabularyTag

FEATURES = np.zeros((5, 3), np.float32)
TAGS = [VocabularyTag(n, name, "object") for n, name in enumerate(("dog", "red cat", "sea", "grass"))]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    require_module("torch")
    require_module("transformers")
    from fixtures_dino import save_grounding_dino

    folder = tmp_path_factory.mktemp("dino")
    save_grounding_dino(folder, longest_text=12)
    (folder / "preprocessor_config.json").write_text(
        '{"image_processor_type": "GroundingDinoImageProcessor", "size": {"shortest_edge": 64, "longest_edge": 96}}'
    )
    return folder


def test_a_region_for_every_tag(folder):
    source = GroundingDinoRegions(folder, box_threshold=0.0)
    regions = source.find(plain(RED, (40, 30)), FEATURES, TAGS)
    assert len(regions) == 4
    for region in regions:
        assert 0 <= region.box[0] < region.box[2] <= 1
        assert 0 <= region.box[1] < region.box[3] <= 1
        assert region.weights.shape == (2, 2)
        assert region.weights.sum() == pytest.approx(1)
        assert 0 < region.score < 1
    # Sure of nothing: random weights.
    assert GroundingDinoRegions(folder, box_threshold=1.0).find(plain(RED, (40, 30)), FEATURES, TAGS) == [None] * 4
    assert source.find(plain(RED), FEATURES, []) == []


def test_names_are_separated_by_full_stops_and_split_into_texts(folder):
    texts = list(GroundingDinoRegions(folder)._texts([tag.name for tag in TAGS]))
    # [CLS] dog . red cat . sea . grass . [SEP]: 11 of at most 12 pieces.
    assert texts == [([2, 7, 5, 9, 8, 5, 10, 5, 11, 5, 3], [(1, 2), (3, 5), (6, 7), (8, 9)])]
    longer = list(GroundingDinoRegions(folder)._texts(["dog", "red cat", "sea", "grass", "dog"]))
    assert [len(spans) for _, spans in longer] == [4, 1]
    assert longer[1] == ([2, 7, 5, 3], [(1, 2)])


def test_the_score_is_the_mean_over_a_names_pieces(folder):
    import torch

    source = GroundingDinoRegions(folder, box_threshold=0.0)
    picture = plain(RED, (40, 30))
    [(ids, spans)] = source._texts(["dog", "red cat"])
    text = torch.tensor([ids])
    with torch.inference_mode():
        pixels = source._prepare(images=picture, return_tensors="pt")
        seen = source._model(
            **pixels, input_ids=text, attention_mask=torch.ones_like(text), token_type_ids=torch.zeros_like(text)
        )
    expected = [float(seen.logits[0].sigmoid()[:, first:last].mean(1).max()) for first, last in spans]
    found = [region.score for region in source.find(picture, FEATURES, TAGS[:2])]
    assert found == pytest.approx(expected, abs=1e-6)


def test_folders_without_weights(tmp_path, folder):
    with pytest.raises(ModelError, match=r"no Grounding DINO here \(no config.json\)"):
        GroundingDinoRegions(tmp_path)
    (tmp_path / "config.json").write_text((folder / "config.json").read_text())
    with pytest.raises(ModelError, match="cannot be loaded as Grounding DINO"):
        GroundingDinoRegions(tmp_path)
