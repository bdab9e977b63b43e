"""Tag2Text, RAM and RAM++ as systems, from checkpoints in the layout in which they are published."""

from __future__ import annotations

import io

import numpy as np
import pytest
from oracle_sets import convert_oracle, each_oracle_set
from PIL import Image

import anytag
from anytag.errors import ModelError
from anytag.evaluation.systems import ModelSystem
from anytag.recognition import Failure


@pytest.fixture(scope="module")
def recognizer_of(tmp_path_factory):
    made = {}

    def make(oracle_set):
        if oracle_set.name not in made:
            folder = tmp_path_factory.mktemp(oracle_set.name)
            convert_oracle(oracle_set, folder, folder / "model")
            made[oracle_set.name] = anytag.load(folder / "model")
        return made[oracle_set.name]

    return make


@pytest.fixture(scope="module")
def picture():
    out = io.BytesIO()
    Image.fromarray(np.random.default_rng(1).integers(0, 256, (70, 50, 3), np.uint8)).save(out, "PNG")
    return out.getvalue()


@each_oracle_set()
class TestTagging:
    def test_scores_are_the_models_probabilities_in_the_benchmarks_order(self, oracle_set, recognizer_of, picture):
        recognizer = recognizer_of(oracle_set)
        system = ModelSystem(recognizer)
        assert (system.paradigm, system.title) == ("tagging", recognizer.directory.config.name)
        # Some lists name two tags alike; the benchmark means the first.
        names = list(dict.fromkeys(tag.name for tag in recognizer.vocabulary))[:4][::-1]
        assert system.set_categories([*names, names[0]], {}) == []
        [found] = system.scores([picture])
        [batch] = recognizer.directory.config.image_encoder.preprocessing.batches([("one", picture)], 1)
        places = [next(p for p, tag in enumerate(recognizer.vocabulary) if tag.name == name) for name in names]
        encoded = recognizer.backend.encode(batch.pixels)
        logits = recognizer.backend.recognize(encoded.features, recognizer.backend.vocabulary_queries())[0]
        expected = 1 / (1 + np.exp(-logits[places].astype(np.float64)))
        np.testing.assert_allclose(found[:4], expected, atol=1e-5)
        assert found[4] == found[0]
        assert np.ptp(found) > 0

    def test_a_class_that_it_does_not_have(self, oracle_set, recognizer_of):
        system = ModelSystem(recognizer_of(oracle_set))
        known = recognizer_of(oracle_set).vocabulary[0].name
        assert not system.is_open
        assert system.set_categories([known, "a rare teapot"], {}) == ["a rare teapot"]
        assert system.set_categories(["a rare teapot"], {"a rare teapot": (known,)}) == []
        with pytest.raises(ModelError, match=r": the vocabulary has none of the categories \("):
            system.set_categories(["a rare teapot"], {})

    def test_a_bad_picture(self, oracle_set, recognizer_of, picture):
        system = ModelSystem(recognizer_of(oracle_set))
        system.set_categories([recognizer_of(oracle_set).vocabulary[0].name], {})
        good, bad = system.scores([picture, b"no picture"])
        assert good.shape == (1,)
        assert isinstance(bad, Failure)


@each_oracle_set("tag2text", "ram")
def test_captions_name_categories(oracle_set, recognizer_of, picture):
    system = ModelSystem(recognizer_of(oracle_set), as_captioner=True)
    assert system.paradigm == "captioning"
    names = [tag.name for tag in system.recognizer.vocabulary][:3]
    assert system.set_categories(names, {}) == []
    [caption] = system.captions([picture])
    [found] = system.scores([picture])
    assert found.tolist() == system.parser([caption])[0].astype(float).tolist()
    assert system.thresholds() is None


@each_oracle_set("ram_plus")
def test_ram_plus_writes_no_captions(oracle_set, recognizer_of, picture):
    with pytest.raises(ModelError, match=r": this model tags pictures but does not write captions$"):
        list(ModelSystem(recognizer_of(oracle_set), as_captioner=True).captions([picture]))
