"""Texts and tags against one picture: how well a text fits, and where a tag is seen."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from conftest import ROOT
from fixtures_toy import ToyBackend, plain, toy_recognizer
from PIL import Image

import anytag
from anytag.backends.base import ArrayQueries
from anytag.errors import ModelError, PictureError, UsageError
from anytag.recognition import Failure, Match, Matches, Tag

EXAMPLES = ROOT / "examples"


@pytest.fixture
def recognizer(tmp_path):
    return toy_recognizer(tmp_path / "toy")


@pytest.fixture(scope="module")
def shipped():
    return anytag.load(threads=1)


def fits(seen):
    return [match.score for match in seen.matches]


def tags(seen):
    return [[tag.name for tag in match.tags] for match in seen.matches]


class TestMatch:
    def test_scores_are_the_decoder_s_own(self, recognizer):
        # A text of n tokens asks for n tenths of green, and no shift or slope of the tags' touches that.
        update = {"score_slope": 3.0, "open_shift": 1.0}
        recognizer.directory.config = recognizer.directory.config.model_copy(update=update)
        seen = recognizer.match(plain("lime"), ["kart", "kart kart kart", "a kart"])
        assert [match.text for match in seen.matches] == ["kart", "kart kart kart", "a kart"]
        assert fits(seen) == pytest.approx([0.1, 0.3, 0.2], abs=1e-6)
        assert fits(recognizer.match(plain("red"), ["kart kart"])) == pytest.approx([0], abs=1e-5)

    def test_tags_are_those_that_the_picture_shows_and_the_text_names(self, recognizer):
        # Red shows red 1, animal .7 and dog .6, but no beach and no running.
        texts = ["two hounds on a beach", "a red sea shore", "an animal running", "nothing of the kind"]
        seen = recognizer.match(plain("red"), texts)
        assert tags(seen) == [["animal", "dog"], ["red"], ["animal"], []]
        [animal, dog] = seen.matches[0].tags
        assert (animal.id, dog.id, dog.threshold, dog.kind) == (0, 1, 0.5, "object")
        assert (animal.score, dog.score) == pytest.approx((0.7, 0.6), abs=1e-6)

    def test_a_tag_has_the_same_score_as_everywhere_else(self, recognizer):
        everywhere = {tag.name: tag for tag in recognizer.tag(plain("red")).tags}
        for tag in recognizer.match(plain("red"), ["a red dog"]).matches[0].tags:
            assert everywhere[tag.name] == tag

    def test_a_text_that_is_a_tag_is_a_text(self, recognizer):
        # As a tag dog would score .6; as a text of one unknown word it is one tenth of green.
        seen = recognizer.match(plain("red"), ["dog"])
        assert fits(seen) == pytest.approx([0], abs=1e-5)
        assert tags(seen) == [["animal", "dog"]]

    def test_the_same_text_twice_is_scored_twice(self, recognizer):
        assert len(recognizer.match(plain("red"), ["dog", "dog"]).matches) == 2

    def test_lists_keep_failures_in_place_and_streams_are_lazy(self, recognizer):
        results = recognizer.match([plain("red"), b"", plain("lime")], ["a kart"])
        assert [type(result) for result in results] == [Matches, Failure, Matches]
        assert results[0].path == "<picture 1>"
        drawn = []
        endless = (drawn.append(n) or plain("lime") for n in itertools.count())
        stream = recognizer.match(endless, ["a kart"])
        assert not drawn
        assert [fits(result) for result in itertools.islice(stream, 3)] == [pytest.approx([0.2])] * 3
        assert recognizer.match([], ["a kart"]) == []

    def test_a_bad_single_picture_is_raised(self, recognizer):
        with pytest.raises(PictureError):
            recognizer.match(b"", ["a kart"])

    @pytest.mark.parametrize(
        ("texts", "message"),
        [
            ([], "texts: give at least one text, none of them empty"),
            (["a", "  "], "texts: give at least one text, none of them empty"),
            ("a dog", "texts: give a list of names, not the one text 'a dog'"),
        ],
    )
    def test_texts_are_checked_before_a_picture_is_drawn(self, recognizer, texts, message):
        def forbidden():
            raise AssertionError("a picture was drawn")
            yield

        with pytest.raises(UsageError) as caught:
            recognizer.match(forbidden(), texts)
        assert str(caught.value) == message

    def test_many_texts_are_embedded_in_pieces(self, recognizer, monkeypatch):
        monkeypatch.setattr("anytag.inference.text_queries._TEXT_BATCH", 2)
        sizes = []
        embed = recognizer.backend.text_queries
        monkeypatch.setattr(recognizer.backend, "text_queries", lambda ids: sizes.append(ids.shape) or embed(ids))
        seen = recognizer.match(plain("lime"), ["kart", "a kart", "x y kart", "b c d e", "kart"])
        assert fits(seen) == pytest.approx([0.1, 0.2, 0.3, 0.4, 0.1], abs=1e-6)
        assert sizes == [(2, 2), (2, 4), (1, 1)]

    def test_json(self):
        tag = Tag("dog", 0.61234, "object", 0.5, 1)
        assert Matches("a.jpg", (Match("a dog", 0.123456, (tag,)),)).to_json() == {
            "path": "a.jpg",
            "matches": [
                {
                    "text": "a dog",
                    "score": 0.1235,
                    "tags": [{"name": "dog", "score": 0.6123, "kind": "object", "threshold": 0.5}],
                }
            ],
        }

    def test_texts_of_bytes_that_are_not_utf8(self, shipped):
        """From a Latin-1 command line: embedded with question marks, returned unchanged."""
        picture = ROOT / "examples" / "cat.jpg"
        assert [match.text for match in shipped.match(picture, ["\udce9t\udce9"]).matches] == ["\udce9t\udce9"]
        [asked] = shipped.tag(picture, categories=["\udce9t\udce9"], threshold=0).tags
        [plain] = shipped.tag(picture, categories=["?t?"], threshold=0).tags
        assert (asked.name, asked.score) == ("\udce9t\udce9", plain.score)

    def test_quality_each_picture_has_its_own_text(self, shipped):
        """One of the few tests of quality: of three texts the shipped model finds each picture's."""
        texts = ["a cat looking at the camera", "a cup of coffee on a table", "a bridge over a river at night"]
        paths = [EXAMPLES / f"{name}.jpg" for name in ("cat", "coffee", "bridge")]
        for place, seen in enumerate(shipped.match(paths, texts)):
            assert int(np.argmax(fits(seen))) == place

    def test_a_text_s_score_does_not_depend_on_the_others(self, shipped):
        path = EXAMPLES / "cat.jpg"
        texts = ["a cat", "a very long description of something else altogether, which goes on and on", "two dogs"]
        together = fits(shipped.match(path, texts))
        assert [fits(shipped.match(path, [text]))[0] for text in texts] == pytest.approx(together, abs=1e-4)


class _Corner(ToyBackend):
    """Looks at one cell of three by three for what it knows, and nowhere for anything else."""

    def attention(self, features, labels):
        cells = np.full((1, len(labels), 10), 0.05, np.float32)
        for row, query in zip(cells[0], labels.arrays["queries"], strict=True):
            row[1 + 5] += 0.45 if query[0] else 0.0
        return cells


class TestLocate:
    @pytest.fixture
    def corner(self, recognizer):
        return anytag.Recognizer(recognizer.directory, _Corner(recognizer.directory, None))

    def test_cells_row_by_row_stretched_to_one(self, recognizer):
        heat = recognizer.locate(plain("red"), "dog")
        assert heat.dtype == np.float32
        np.testing.assert_allclose(heat, [[0, 0.5], [1, 0.5]])

    def test_the_token_of_the_whole_picture_is_no_cell(self, corner):
        heat = corner.locate(plain("red"), "dog")
        assert heat.shape == (3, 3)
        assert np.argwhere(heat == 1).tolist() == [[1, 2]]
        assert heat.sum() == 1

    def test_maps_of_low_scores_are_dimmed(self, recognizer):
        # Half of red: a dog at .3 of the .5 that it needs; no red at all: none.
        half = recognizer.locate(plain((128, 0, 0)), "dog")
        np.testing.assert_allclose(half, np.array([[0, 0.5], [1, 0.5]]) * 0.6 * 128 / 255 / 0.5, atol=1e-6)
        np.testing.assert_allclose(recognizer.locate(plain("blue"), "dog"), np.zeros((2, 2)), atol=1e-5)

    def test_uniform_attention_is_zero(self, corner):
        np.testing.assert_array_equal(corner.locate(plain("red"), "beach"), np.zeros((3, 3)))

    def test_other_words_and_aliases(self, corner):
        np.testing.assert_array_equal(corner.locate(plain("red"), "hound"), corner.locate(plain("red"), "dog"))
        assert corner.backend.texts == 0
        assert corner.locate(plain("red"), "go kart").shape == (3, 3)
        assert corner.backend.texts == 1

    def test_resized_to_the_picture_as_it_stands_upright(self, corner, tmp_path):
        picture = Image.new("RGB", (6, 12), "red")
        exif = Image.Exif()
        exif[0x0112] = 6  # Stored lying on its side.
        picture.save(tmp_path / "turned.jpg", exif=exif)
        heat = corner.locate(tmp_path / "turned.jpg", "dog", resize="nearest")
        assert heat.shape == (6, 12)
        assert np.argwhere(heat == 1).tolist() == [[y, x] for y in (2, 3) for x in (8, 9, 10, 11)]
        smooth = corner.locate(tmp_path / "turned.jpg", "dog", resize="bilinear")
        assert smooth.shape == (6, 12)
        assert smooth[0].max() < smooth[2].max() <= 1

    def test_bad_tags_and_models(self, recognizer):
        with pytest.raises(UsageError, match=r"^tag must not be empty; give a tag, or any words$"):
            recognizer.locate(plain("red"), " ")
        with pytest.raises(PictureError, match="the file is empty"):
            recognizer.locate(b"", "dog")
        with pytest.raises(UsageError, match=r"^resize must be one of nearest, bilinear, not 'cubic' \(str\)$"):
            recognizer.locate(plain("red"), "dog", resize="cubic")


class TestExported:
    """A small network on both backends."""

    def test_both_backends_have_the_same_attention(self, exported):
        torch = pytest.importorskip("torch")
        from anytag.backends.onnx import OnnxBackend
        from anytag.model.directory import ModelDirectory

        backend = OnnxBackend(ModelDirectory(exported.folder), threads=1)
        labels = backend.vocabulary_queries()
        features = torch.randn(2, 5, 16, generator=torch.Generator().manual_seed(3))
        weights = backend.attention(features.numpy(), labels)
        assert weights.shape == (2, 5, 5)
        np.testing.assert_allclose(weights.sum(-1), 1, atol=1e-5)
        np.testing.assert_allclose(weights, by_hand(exported.model, features, labels), atol=1e-5)
        some = backend.attention(features.numpy()[1:], labels.take(np.array([3])))
        np.testing.assert_allclose(some, weights[1:, [3]], atol=1e-6)

    def test_the_torch_backend_agrees(self, exported, tmp_path):
        pytest.importorskip("torch")
        import torch
        from safetensors.torch import save_file, save_model

        from anytag.backends.torch import TorchBackend
        from anytag.model.directory import ModelDirectory, write_config

        (tmp_path / "vocabulary.json").write_bytes((exported.folder / "vocabulary.json").read_bytes())
        save_model(exported.model, str(tmp_path / "model.safetensors"))
        save_file({"text_embeddings": torch.zeros(5, 24)}, tmp_path / "label_queries.safetensors")
        write_config(tmp_path, exported.model.config, [path.name for path in tmp_path.iterdir()])
        backend = TorchBackend(ModelDirectory(tmp_path))
        features = torch.randn(2, 5, 16, generator=torch.Generator().manual_seed(4))
        labels = backend.vocabulary_queries()
        arrays = ArrayQueries({name: tensor.numpy() for name, tensor in labels.tensors.items()})
        expected = by_hand(exported.model, features, arrays)
        np.testing.assert_allclose(backend.attention(features.numpy(), labels), expected, atol=1e-5)

    def test_a_model_exported_without_attention_says_how_to_get_it(self, exported, tmp_path):
        from anytag.backends.onnx import OnnxBackend
        from anytag.model.directory import ModelDirectory

        directory = ModelDirectory(exported.folder)
        directory.path = tmp_path
        directory.config = directory.config.model_copy(update={"files": {}})
        backend = OnnxBackend(directory, threads=1)
        with pytest.raises(ModelError) as caught:
            backend.attention(np.zeros((1, 5, 16), np.float32), ArrayQueries({"queries": np.zeros((1, 16))}))
        assert str(caught.value) == (
            f"{tmp_path}: has no onnx/attention.onnx, which says where tags are; export the trained model again "
            "(anytag export RUN/model --out DIR), or use a model with PyTorch weights"
        )


def by_hand(model, features, labels):
    """Attention of the second of two layers, written out head by head; ``[B, T, N]``."""
    import torch

    first, second = model.recognition_decoder.layers
    heads, found = model.recognition_decoder.heads, []
    with torch.no_grad():
        for picture in features:
            hidden = torch.from_numpy(labels.arrays["queries"])
            seen = [torch.empty(0)] * heads

            def look(attention, hidden, picture=picture):
                q, k, v = attention.query(hidden), attention.key(picture), attention.value(picture)
                depth = q.shape[1] // heads
                weights, outs = [], []
                for head in range(heads):
                    part = slice(head * depth, (head + 1) * depth)
                    weights.append(torch.softmax(q[:, part] @ k[:, part].T / depth**0.5, 1))
                    outs.append(weights[-1] @ v[:, part])
                return weights, attention.norm(hidden + attention.output(torch.cat(outs, 1)))

            _, hidden = look(first.cross_attention, hidden)
            hidden = first.feed_forward(hidden)
            seen, _ = look(second.cross_attention, hidden)
            found.append(torch.stack(seen).mean(0))
    return torch.stack(found).numpy()
