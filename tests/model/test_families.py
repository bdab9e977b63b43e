"""The official sizes, against the reference's full-size lists of parameters."""

from __future__ import annotations

import json

import pytest

from anytag.checkpoints.official_keys import official_config
from anytag.model import families
from anytag.nn.weights import empty_model

FILES = {
    "tag2text": ("keys_tag2text_swin_b.json", 3429, "base"),
    "ram": ("keys_ram_swin_l.json", 4585, "large"),
    "ram_plus": ("keys_ram_plus_swin_l.json", 4585, "large"),
}

#: Parameters, each counted once, that the reference's README states; RAM's tables count as parameters there.
TOTALS = {"tag2text": 372_007_193, "ram": 469_148_785, "ram_plus": 329_493_046}


@pytest.mark.parametrize("family", FILES)
class TestSizes:
    def shapes(self, oracle, family):
        keys = json.loads((oracle / FILES[family][0]).read_text(encoding="utf-8"))
        keys = keys.get("keys", keys)
        return {name: tuple(shape) for name, shape in keys.items()}

    def test_a_checkpoint_s_shapes_give_these_configs(self, oracle, family):
        _, tags, swin = FILES[family]
        read = official_config(family, self.shapes(oracle, family), "x", tags)
        built = getattr(families, family)(swin)
        assert read == built.model_copy(update={"name": "x"})

    def test_they_have_as_many_parameters_as_the_published_models(self, family):
        model = empty_model(getattr(families, family)(), FILES[family][1])
        assert sum(parameter.numel() for parameter in model.parameters()) == TOTALS[family]
