"""Stages that read cached tokens: their values, the idle encoder, and what cannot be cached."""

from __future__ import annotations

import json

import pytest

torch = pytest.importorskip("torch")

from safetensors.torch import load_file  # noqa: E402
from toy_pairs import config, model_config, write_pictures  # noqa: E402

from anytag.datasets.opening import open_source  # noqa: E402
from anytag.errors import UsageError  # noqa: E402
from anytag.nn.model import RecognitionModel  # noqa: E402
from anytag.nn.swin import SwinTransformer  # noqa: E402
from anytag.training.families.augmentation import PLAIN  # noqa: E402
from anytag.training.families.batches import Collator, ExampleLoader, SampleTags  # noqa: E402
from anytag.training.families.feature_cache import CachedLoader, TokenCache  # noqa: E402
from anytag.training.recipes.config import Tag2TextConfig, TrainingStage, VocabularyConfig  # noqa: E402
from anytag.training.run import train  # noqa: E402

TAGS = Tag2TextConfig(captioning=0, contrast=0, matching=0)
#: Four epochs of three steps with the encoder frozen, then one with it.
STAGES = (
    TrainingStage(name="head", epochs=4, learning_rate=3e-3, warmup=2, cached="tokens"),
    TrainingStage(name="all", epochs=1, learning_rate=1e-3, encoder_learning_rate=1e-3, warmup=2),
)


def settings(**changes):
    return config(**({"objective": TAGS, "stages": STAGES, "views": 2} | changes))


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")
    write_pictures(folder)
    return folder


@pytest.fixture
def looks(monkeypatch):
    """Pictures per call of the image encoder."""
    seen = []
    forward = SwinTransformer.forward

    def counted(self, pixels):
        seen.append(len(pixels))
        return forward(self, pixels)

    monkeypatch.setattr(SwinTransformer, "forward", counted)
    return seen


def test_the_encoder_is_asked_once_for_each_view(data, tmp_path, looks):
    lines = []
    assert train(settings(), data, tmp_path, lines.append)
    # 24 pictures in two views, then three batches of eight.
    assert sum(looks) == 2 * 24 + 24
    assert any(line.startswith("features: view 1, part 1/1 (00-000000), ") for line in lines)
    losses = [json.loads(line)["tagging"] for line in (tmp_path / "log.jsonl").read_text().splitlines()[:-1]]
    assert losses[5] < losses[0]


def test_killed_in_either_stage_it_ends_the_same(data, tmp_path):
    assert train(settings(save_every=1), data, tmp_path / "straight", lambda line: None)
    for _ in range(14):
        assert not train(settings(save_every=1), data, tmp_path / "broken", lambda line: None, stop_after=0)
    assert train(settings(save_every=1), data, tmp_path / "broken", lambda line: None)
    one, other = (load_file(tmp_path / name / "model" / "model.safetensors") for name in ("straight", "broken"))
    assert all(torch.equal(one[key], other[key]) for key in one)


def test_cached_tokens_are_those_of_the_encoder(data, tmp_path):
    sizes = model_config("ram_plus").image_encoder
    torch.manual_seed(0)
    encoder = RecognitionModel(model_config("ram_plus"), 6).image_encoder.eval()
    source = open_source(data / "pairs.jsonl")
    cache = TokenCache(encoder, tmp_path, sizes, 0, lambda line: None, augmentation=config().augmentation)
    tags = SampleTags(train_vocabulary(), None)
    plain = ExampleLoader(tags, sizes.preprocessing, PLAIN, "given")
    cached = CachedLoader(plain, cache.open([source], 1))
    collate = Collator(sizes, tags.vocabulary)
    samples = [source[place] for place in (3, 17)]
    one, other = (collate([load(sample, 5) for sample in samples]) for load in (plain, cached))
    assert other.pixels is None
    with torch.no_grad():
        torch.testing.assert_close(other.tokens, encoder(one.pictures), rtol=2e-3, atol=2e-3)
    assert torch.equal(one.tags, other.tags)


def train_vocabulary():
    from anytag.model.vocabulary import TagVocabulary, VocabularyTag

    return TagVocabulary(
        VocabularyTag(i, name, "object") for i, name in enumerate(("red", "green", "square", "circle"))
    )


def test_pictures_that_cannot_be_read_are_left_out(tmp_path):
    rows = write_pictures(tmp_path, 24)
    (tmp_path / rows[2]["image"]).write_bytes(b"no picture")
    given = settings(stream={"bad_share": 0.5})
    assert train(given, tmp_path, tmp_path / "run", lambda line: None)
    bad = [json.loads(line) for line in (tmp_path / "run" / "bad-samples.jsonl").read_text().splitlines()]
    assert {record["source"].split()[0] for record in bad} == {"pairs.jsonl:3"}


def test_two_samples_of_one_name(tmp_path):
    for folder in ("a", "b"):
        write_pictures(tmp_path / folder, 8)
    given = settings(sources=("a/pairs.jsonl", "b/pairs.jsonl"))
    with pytest.raises(UsageError, match=r"pairs\.jsonl:1: there are two samples of that name"):
        train(given, tmp_path, tmp_path / "run", lambda line: None)


def test_other_augmentation_is_cached_apart(data, tmp_path):
    for crop in ((0.6, 1.0), (0.3, 1.0)):
        changes = {"augmentation": {"crop": crop}, "vocabulary": VocabularyConfig(read="tags")}
        train(
            settings(**changes), data, tmp_path / str(crop), lambda line: None, stop_after=0, cache=tmp_path / "cache"
        )
    assert len(list((tmp_path / "cache").glob("tokens-*"))) == 2


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"stages": STAGES[::-1]}, "stages.1.cached=tokens: the image encoder is trained in or before this stage"),
        ({"objective": Tag2TextConfig()}, "stages.0.cached=tokens: contrast needs the pictures; set it to 0"),
        ({"recognized_share": 0.5}, "stages.0.cached=tokens: recognized_share needs the pictures"),
        ({"stages": STAGES[1:]}, "views without cached=tokens applies to LiteConfig only"),
        (
            {"stages": (*STAGES, STAGES[1].model_copy(update={"cached": "maps"}))},
            "stages.2.cached=maps applies to LiteConfig only",
        ),
    ],
)
def test_what_cannot_be_cached(changes, message):
    with pytest.raises(ValueError, match=message):
        settings(**changes)
