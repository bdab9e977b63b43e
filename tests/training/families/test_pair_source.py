"""From samples to batches: tags, captions, views, and missing annotations."""

from __future__ import annotations

import json

import numpy as np
import pytest
from PIL import Image

torch = pytest.importorskip("torch")

from toy_pairs import model_config, write_pictures  # noqa: E402

from anytag.datasets import Sample, SampleStream, TagName, open_source  # noqa: E402
from anytag.language.parsing.parser import load_parser  # noqa: E402
from anytag.language.tokenizers.bert_tokenizer import build_official_tokenizer  # noqa: E402
from anytag.language.tokenizers.wordpieces import bert_wordpieces  # noqa: E402
from anytag.model.vocabulary import TagVocabulary, VocabularyTag  # noqa: E402
from anytag.pictures import Preprocessing  # noqa: E402
from anytag.training.engine.distributed import Share  # noqa: E402
from anytag.training.families.augmentation import PLAIN  # noqa: E402
from anytag.training.families.batches import Collator, ExampleLoader, SampleTags, StreamBatches, sample_key  # noqa: E402
from anytag.training.families.data_sources import open_sources  # noqa: E402
from anytag.training.families.vocabularies import choose_vocabulary  # noqa: E402
from anytag.training.recipes.config import AugmentationConfig, TrainingStage, VocabularyConfig  # noqa: E402

VOCABULARY = TagVocabulary(
    [
        VocabularyTag(0, "dog", "object", aliases=("puppy",), implies=(2,)),
        VocabularyTag(1, "red", "attribute"),
        VocabularyTag(2, "animal", "object"),
        VocabularyTag(3, "run", "action"),
    ]
)
ENCODER = model_config("tag2text").image_encoder


def sample(captions=(), tags=(), caption_tags=(), source="s:1"):
    return Sample("1", b"", tuple(captions), source=source, tags=tuple(map(TagName, tags)), caption_tags=caption_tags)


class TestTags:
    tags = SampleTags(VOCABULARY, load_parser("light"))

    @pytest.mark.parametrize(("kind", "expected"), [("picture", {0, 1, 2, 3}), ("caption", {1}), ("given", {0, 2})])
    def test_which_a_picture_is_taught(self, kind, expected):
        """Given: dog, which implies animal. Captions: a red one (drawn), one that runs."""
        given = sample(["something red", "it runs"], ["dog"])
        drawn = self.tags.of_caption(given, 0)
        assert drawn == (1,)
        assert self.tags.of_picture(given, kind, drawn) == expected

    def test_unknown_tags_are_no_targets(self):
        assert self.tags.of_picture(sample(), "picture") is None
        assert self.tags.of_picture(sample(["a dog"]), "given") is None
        silent = SampleTags(VOCABULARY, None)
        assert silent.of_caption(sample(["a dog"]), 0) is None
        assert silent.of_picture(sample(["a dog"]), "picture") is None

    def test_a_caption_that_names_nothing_is_known_to(self):
        assert self.tags.of_picture(sample(["it is nice"]), "picture") == set()

    def test_where_data_say_what_captions_name_nothing_is_parsed(self):
        given = sample(["a dog"], ["red"], ((TagName("run"),),))
        assert self.tags.of_caption(given, 0) == (3,)
        assert self.tags.of_picture(given, "picture") == {1}


@pytest.fixture
def source(tmp_path):
    write_pictures(tmp_path, count=4)
    return open_source(tmp_path / "pairs.jsonl")


def colors(source, augmentation=PLAIN, seed=0):
    vocabulary = choose_vocabulary(VocabularyConfig(read="tags"), None, None, [source], None, source.path.parent)
    return ExampleLoader(SampleTags(vocabulary.vocabulary, None), Preprocessing(32), augmentation, seed=seed)


class TestExamples:
    def test_everything_is_drawn_from_seed_epoch_and_place(self, source):
        load = colors(source, AugmentationConfig())
        first, again, later = load(source[0], 0), load(source[0], 0), load(source[0], 1)
        np.testing.assert_array_equal(first.pixels, again.pixels)
        assert not np.array_equal(first.pixels, later.pixels)
        assert first.caption == again.caption
        captions = {load(source[0], epoch).caption for epoch in range(20)}
        assert len(captions) == 2
        other = colors(source, AugmentationConfig(), seed=1)(source[0], 0)
        assert not np.array_equal(first.pixels, other.pixels)

    def test_transparency_is_treated_as_the_weights_want_it(self, tmp_path):
        """The official code shows the color below fully transparent pixels, ours white."""
        Image.new("RGBA", (40, 40), (10, 20, 30, 0)).save(tmp_path / "clear.png")
        (tmp_path / "pairs.jsonl").write_text(json.dumps({"image": "clear.png", "tags": ["red"]}) + "\n")
        source = open_source(tmp_path / "pairs.jsonl")
        seen = []
        for alpha in ("drop", "composite"):
            load = colors(source)
            load.preprocessing = Preprocessing(32, alpha=alpha)
            seen.append(load(source[0], 0).pixels[0, 0].tolist())
        assert seen == [[10, 20, 30], [255, 255, 255]]

    def test_rows_of_one_picture_have_its_number(self, tmp_path):
        rows = write_pictures(tmp_path, count=2)
        (tmp_path / "twice.jsonl").write_text("".join(json.dumps(row) + "\n" for row in (*rows, rows[0])))
        twice = open_source(tmp_path / "twice.jsonl")
        load = colors(twice)
        numbers = [load(twice[place], 0).number for place in range(3)]
        assert numbers[0] == numbers[2] != numbers[1]
        keys = [load(twice[place], 0).key for place in range(3)]
        assert len(set(keys)) == 3

    def test_keys_are_the_same_everywhere(self):
        """``printf table.csv:17 | b2sum -l 64``, read from its last byte on, halved."""
        assert sample_key("table.csv:17") == int.from_bytes(bytes.fromhex("3663f79585989578"), "little") // 2
        assert 0 <= sample_key("") < 2**63


def drawn(batches):
    """The next batch of a single process."""
    return batches.draw(0, TrainingStage(name="all", epochs=1), Share())


class TestBatches:
    def batches(self, source, size=3, **settings):
        load = colors(source)
        tokenizer = build_official_tokenizer(bert_wordpieces())
        collate = Collator(ENCODER, load.tags.vocabulary, tokenizer, **settings)
        return StreamBatches(SampleStream([source], load=load, shuffle=False, threads=0), collate, size)

    def test_a_batch(self, source):
        batch = drawn(self.batches(source))
        assert batch.pixels.shape == (3, 3, 32, 32)
        expected = (torch.from_numpy(colors(source)(source[0], 0).pixels).float() - 127) / 128
        torch.testing.assert_close(batch.pixels[0], expected.permute(2, 0, 1))
        assert batch.tags.sum(1).tolist() == [2, 2, 2]
        assert batch.tags_known is None
        assert batch.captions.shape[0] == batch.texts.shape[0] == 3
        assert batch.tag_tokens.shape == (3, 40)
        assert batch.teacher is None
        assert batch.text_embeddings is None

    def test_pictures_without_annotations(self, tmp_path):
        rows = write_pictures(tmp_path, count=3)
        rows[1] = {"image": rows[1]["image"], "tags": [], "captions": []}
        (tmp_path / "pairs.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        batch = drawn(self.batches(open_source(tmp_path / "pairs.jsonl")))
        assert batch.tags_known.tolist() == [True, False, True]
        assert not batch.captions[1].any()
        assert not batch.texts[1].any()

    def test_captions_for_the_text_teacher_and_keys_for_the_pictures(self, source):
        class Texts:
            def embed(self, texts):
                return np.array([[len(text), 1.0] for text in texts], np.float32)

        def teacher(pixels, keys):
            return torch.tensor([[float(key % 7), 0.0] for key in keys])

        batches = self.batches(source, 2, texts=Texts(), teacher=teacher)
        examples = [colors(source)(source[number], 0) for number in range(2)]
        batch = drawn(batches)
        assert batch.text_embeddings[:, 0].tolist() == [len(example.caption) for example in examples]
        assert batch.teacher[:, 0].tolist() == [example.key % 7 for example in examples]

    def test_a_restored_stream_gives_the_next_batch(self, source):
        one, two = self.batches(source), self.batches(source)
        drawn(one)
        state = json.loads(json.dumps(one.state()))
        two.restore(state)
        torch.testing.assert_close(drawn(one).pixels, drawn(two).pixels, rtol=0, atol=0)


def test_sources_lie_under_the_data_folder(tmp_path):
    write_pictures(tmp_path / "mine", count=2)
    for spec in ("mine/pairs.jsonl", {"path": "mine/pairs.jsonl"}, str(tmp_path / "mine" / "pairs.jsonl")):
        (found,) = open_sources([spec], tmp_path, None)
        assert len(found) == 2


class TestVocabularyOfTheData:
    def choose(self, tmp_path, rows, **settings):
        (tmp_path / "pairs.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        source = open_source(tmp_path / "pairs.jsonl")
        chosen = choose_vocabulary(
            VocabularyConfig(**settings), None, None, [source], load_parser("light"), tmp_path / "kept"
        )
        return chosen.vocabulary

    def test_names_as_the_data_write_them_the_frequent_first(self, tmp_path):
        rows = [{"image": "a.png", "tags": tags} for tags in (["Go-Kart", "red"], ["go-kart"], ["Red Panda"])]
        found = self.choose(tmp_path, rows)
        assert [(tag.name, tag.support) for tag in found] == [("Go-Kart", 2), ("red", 1), ("Red Panda", 1)]
        assert found.find("red").kind == "attribute"

    def test_captions_add_what_they_name(self, tmp_path):
        rows = [{"image": "a.png", "tags": ["go-kart"], "caption": "a dog runs on the grass"}] * 3
        names = {tag.name for tag in self.choose(tmp_path, rows, min_support=2)}
        assert {"go-kart", "dog", "grass", "run"} <= names
        assert "dog" not in {tag.name for tag in self.choose(tmp_path, rows, min_support=2, read="tags")}

    def test_it_is_kept_for_the_next_call(self, tmp_path):
        rows = [{"image": "a.png", "tags": ["owl"]}]
        first = self.choose(tmp_path, rows)
        (kept,) = (tmp_path / "kept").iterdir()
        time = kept.stat().st_mtime_ns
        assert list(self.choose(tmp_path, rows)) == list(first)
        assert kept.stat().st_mtime_ns == time
