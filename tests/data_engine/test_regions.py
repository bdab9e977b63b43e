from functools import partial

import numpy as np
import pytest
from conftest import require_module
from fixtures_toy import TAGS, plain
from toy_engine import GREEN, RED, halves, toy_model

from anytag.data_engine.regions import (
    HeatRegions,
    attention_heat,
    cell_heat,
    grid_side,
    region_of_box,
    region_of_heat,
)
from anytag.errors import ModelError, UsageError
from anytag.pictures.reading import to_pixels

DOG, BEACH = TAGS[1], TAGS[2]


def test_the_warm_cells_around_the_warmest():
    heat = np.array([[0.1, 0.5, 0.0, 0.9], [0.0, 1.0, 0.6, 0.0], [0.0, 0.4, 0.0, 0.0], [0.8, 0.0, 0.0, 0.0]])
    region = region_of_heat(heat, 0.5)
    # 0.9 and 0.8 are warm, but touch the warmest at most by a corner.
    assert region.box == (0.25, 0.0, 0.75, 0.5)
    inside = np.array([[0, 0.5, 0, 0], [0, 1.0, 0.6, 0], [0, 0, 0, 0], [0, 0, 0, 0]])
    assert region.weights == pytest.approx(inside / 2.1)
    assert region.score == 1.0
    assert region_of_heat(heat, 1).box == (0.25, 0.25, 0.5, 0.5)
    assert region_of_heat(heat, 0.4).box == (0.25, 0.0, 0.75, 0.75)


def test_a_cold_map_has_no_region():
    assert region_of_heat(np.zeros((3, 3)), 0.5) is None


def test_a_box_counts_cells_by_the_area_they_share():
    region = region_of_box((0.25, 0.0, 1.0, 0.5), 2, 0.7)
    assert region.weights == pytest.approx(np.array([[1 / 3, 2 / 3], [0, 0]]))
    assert (region.box, region.score) == ((0.25, 0.0, 1.0, 0.5), 0.7)
    # What sticks out of the picture is cut off, and what lies outside is nothing.
    assert region_of_box((-1.0, -1.0, 0.5, 0.5), 2, 0.7).box == (0.0, 0.0, 0.5, 0.5)
    assert region_of_box((1.5, 0.0, 2.0, 1.0), 2, 0.7) is None


@pytest.fixture
def recognizer(tmp_path):
    return toy_model(tmp_path / "model").load()


def features_of(recognizer, picture):
    return recognizer.backend.encode(to_pixels(picture, 4)[None]).features[0]


def test_a_cells_heat_is_the_tags_score_on_it_alone(recognizer):
    heat = cell_heat(recognizer, features_of(recognizer, halves(RED, GREEN)), [BEACH, DOG])
    # Quarters in rows: red, green, red, green. A dog is 0.6 of red, a beach 0.5 of green.
    assert heat == pytest.approx(np.array([[0, 0.5, 0, 0.5], [0.6, 0, 0.6, 0]]), abs=1e-5)
    regions = HeatRegions(partial(cell_heat, recognizer)).find(
        halves(RED, GREEN), features_of(recognizer, halves(RED, GREEN)), [DOG]
    )
    assert regions[0].box == (0.0, 0.0, 0.5, 1.0)
    assert regions[0].score == pytest.approx(0.6, abs=1e-5)


def test_no_tags_no_regions(recognizer):
    assert HeatRegions(partial(cell_heat, recognizer)).find(plain(RED), features_of(recognizer, plain(RED)), []) == []


def test_wrong_use(recognizer):
    with pytest.raises(UsageError, match="above 0 and at most 1, not 0"):
        HeatRegions(partial(cell_heat, recognizer), 0)
    with pytest.raises(ModelError, match="a square grid and their mean, not 7"):
        grid_side(np.zeros((7, 3), np.float32))


class TestTorch:
    @pytest.fixture
    def tiny(self, tmp_path):
        require_module("torch")
        import torch
        from fixtures_torch import TINY, tiny_model
        from safetensors.torch import save_file, save_model

        import anytag
        from anytag.model.directory import write_config
        from anytag.model.vocabulary import TagVocabulary, VocabularyTag

        folder = tmp_path / "tiny"
        folder.mkdir()
        model = tiny_model()
        save_model(model, folder / "model.safetensors")
        tags = [VocabularyTag(i, name, "object") for i, name in enumerate(("dog", "cat", "run", "grass", "red"))]
        TagVocabulary(tags).save(folder / "vocabulary.json")
        save_file({"text_embeddings": torch.randn(5, 24)}, folder / "label_queries.safetensors")
        write_config(folder, TINY, ["vocabulary.json", "model.safetensors", "label_queries.safetensors"])
        return anytag.load(folder, backend="torch")

    def test_attention_is_that_of_the_last_layer(self, tiny):
        import torch

        features = np.random.default_rng(0).normal(size=(5, 16)).astype(np.float32)
        tags = [tiny.vocabulary[3], tiny.vocabulary[0]]
        heat = attention_heat(tiny, features, tags)
        decoder, queries = tiny.backend.model.recognition_decoder, tiny.labels.queries.tensors["queries"][[3, 0]]
        hidden, seen = queries[None], torch.from_numpy(features)[None]
        with torch.no_grad():
            for layer in decoder.layers:
                attention = layer.cross_attention
                keys = attention.key(seen).reshape(5, 2, 8)
                asked = attention.query(hidden).reshape(2, 2, 8)
                weights = torch.einsum("thd,nhd->htn", asked, keys).div(8**0.5).softmax(-1).mean(0)
                hidden = layer.feed_forward(attention(hidden, attention.keys_values(seen, 2), 2))
        assert heat == pytest.approx(weights[:, 1:].numpy(), abs=1e-6)

    def test_cells_ask_the_same_decoder(self, tiny):
        import torch

        features = np.random.default_rng(1).normal(size=(5, 16)).astype(np.float32)
        heat = cell_heat(tiny, features, [tiny.vocabulary[2]])
        with torch.no_grad():
            # A picture of one token is a picture of that token alone.
            alone = torch.from_numpy(features[1:, None])
            logits = tiny.backend.model.recognition_decoder(alone, tiny.labels.queries.tensors["queries"][[2]])
        assert heat[0] == pytest.approx(logits[:, 0].sigmoid().numpy(), abs=1e-5)
