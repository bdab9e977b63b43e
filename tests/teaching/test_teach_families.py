"""Every family takes taught tags: a row for each in whatever holds a row a tag."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

torch = pytest.importorskip("torch")

from fixtures_official import TAGS, small_model  # noqa: E402

import anytag  # noqa: E402
from anytag.model.directory import write_config  # noqa: E402
from anytag.model.vocabulary import TagVocabulary, VocabularyTag  # noqa: E402
from anytag.nn.weights import write_weights  # noqa: E402
from anytag.teaching.config import TeachingConfig  # noqa: E402
from anytag.teaching.teach import teach  # noqa: E402


@pytest.mark.parametrize("family", ["tag2text", "ram", "ram_plus"])
def test_a_model_with_weights_of_pytorch(family, tmp_path):
    model = small_model(family)
    (tmp_path / "model").mkdir()
    write_weights(dict(model.named_parameters()), tmp_path / "model" / "model.safetensors")
    tags = TagVocabulary(VocabularyTag(id, f"tag {id}", "object", threshold=0.6) for id in range(TAGS))
    tags.save(tmp_path / "model" / "vocabulary.json")
    write_config(tmp_path / "model", model.config, ["model.safetensors", "vocabulary.json"])
    draw = np.random.default_rng(0)
    for name, low in (("bright", 200), ("dark", 0)):
        (tmp_path / "photos" / name).mkdir(parents=True)
        for number in range(5):
            pixels = draw.integers(low, low + 55, (16, 16, 3)).astype(np.uint8)
            Image.fromarray(pixels).save(tmp_path / "photos" / name / f"{number}.png")
    said: list[str] = []
    config = TeachingConfig(start="model", sources=("photos",), views=1)
    results = teach(config, tmp_path, tmp_path / "mine", said.append)
    assert any("there is no bank of negatives for this model" in line for line in said)
    assert [result.tag.id for result in results] == [TAGS, TAGS + 1]
    before, after = anytag.load(tmp_path / "model"), anytag.load(tmp_path / "mine")
    pictures = [str(tmp_path / "photos" / name / "0.png") for name in ("bright", "dark")]
    for name, old, new in zip(
        ("bright", "dark"), before.tag(pictures, threshold=0.0), after.tag(pictures, threshold=0.0), strict=True
    ):
        scores = {tag.name: tag.score for tag in new.tags}
        assert len(scores) == TAGS + 2
        assert {tag.name: pytest.approx(tag.score, abs=1e-5) for tag in old.tags}.items() <= scores.items()
        assert scores[name] > 0.5 > scores["dark" if name == "bright" else "bright"]
