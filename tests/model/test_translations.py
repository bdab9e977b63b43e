"""Names of tags in other languages: by sense, read on first use."""

from __future__ import annotations

import csv

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from anytag.errors import ModelError, UsageError, VocabularyError
from anytag.inference.tag_choice import ChosenTags, TagChoice
from anytag.model.directory import SHIPPED_MODEL, ModelDirectory
from anytag.model.translations import TRANSLATIONS_FILE, read_translations
from anytag.model.vocabulary import TagVocabulary, VocabularyTag

TAGS = (
    VocabularyTag(0, "train", "object"),
    VocabularyTag(1, "train", "action"),
    VocabularyTag(2, "cat", "object", aliases=("kitty",)),
    VocabularyTag(3, "talk", "action", aliases=("chat",)),
    VocabularyTag(4, "odd", "attribute"),
)
TABLE = """\
name,kind,de,fr
train,object,Zug,train
train,action,trainieren,entraîner
cat,object,Katze,chat
talk,action,,parler
"""


@pytest.fixture
def vocabulary(tmp_path):
    TagVocabulary(TAGS).save(tmp_path / "vocabulary.json")
    (tmp_path / TRANSLATIONS_FILE).write_text(TABLE, encoding="utf-8")
    return TagVocabulary.load(tmp_path / "vocabulary.json")


def test_names_belong_to_a_sense(vocabulary):
    assert vocabulary.translations.names("de") == {0: "Zug", 1: "trainieren", 2: "Katze"}
    assert vocabulary.translations.of(1) == {"de": "trainieren", "fr": "entraîner"}
    assert vocabulary.translations.languages == {"de": 3, "fr": 4}
    assert vocabulary.translations.names("it") == {}


def test_found_in_any_case_and_language(vocabulary):
    translations = vocabulary.translations
    assert translations.find(" katze ") == translations.find("chat") == (2,)
    assert translations.find("chat", "de") == translations.find("Hund") == ()


def test_english_first_unless_the_language_was_chosen(vocabulary):
    assert ChosenTags(vocabulary).find("chat") == vocabulary[3]
    assert ChosenTags(vocabulary, TagChoice(language="fr")).find("chat") == vocabulary[2]
    assert ChosenTags(vocabulary).find("Katze") == vocabulary[2]


def test_names_that_are_missing_stay_english(vocabulary):
    chosen = ChosenTags(vocabulary, TagChoice(language="de-AT"))
    assert [chosen.name(tag) for tag in chosen.tags] == ["Zug", "trainieren", "Katze", "talk", "odd"]


def test_tags_are_allowed_and_denied_by_any_name(vocabulary):
    assert [t.id for t in ChosenTags(vocabulary, TagChoice(allow=["Zug", "chat"], language="fr")).tags] == [0, 2]
    assert [t.id for t in ChosenTags(vocabulary, TagChoice(deny=["Zug", "entraîner"])).tags] == [2, 3, 4]
    with pytest.raises(UsageError, match="no names in 'it'; it has de, fr"):
        ChosenTags(vocabulary, TagChoice(language="it"))


def test_a_part_of_a_vocabulary_keeps_its_names(vocabulary):
    cats = vocabulary.select(lambda tag: tag.name == "cat")
    assert cats.translations.names("de") == {0: "Katze"}


def test_search_finds_them(vocabulary):
    assert vocabulary.search("katz") == [vocabulary[2]]


def test_names_that_a_tag_brings_come_first(tmp_path, vocabulary):
    tags = [VocabularyTag(0, "cat", "object", translations=(("de", "Miezekatze"), ("zh", "猫")))]
    own = TagVocabulary(tags, tmp_path / TRANSLATIONS_FILE)
    assert own.translations.of(0) == {"de": "Miezekatze", "fr": "chat", "zh": "猫"}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", r"translations\.csv: the names in other languages cannot be read"),
        ("tag,de\ncat,Katze\n", r"the first line is 'tag,de', not name,kind and language codes"),
        ("name,kind,de\ncat,object\n", r"line 2 has 2 cells, but the header has 3"),
    ],
)
def test_a_bad_table(tmp_path, vocabulary, text, message):
    (tmp_path / TRANSLATIONS_FILE).write_text(text)
    with pytest.raises(VocabularyError, match=message):
        _ = vocabulary.translations


WORDS = st.text(st.characters(exclude_categories=("Cs", "Cc")), min_size=1, max_size=8)


NAMES = st.dictionaries(st.sampled_from(["de", "ja"]), WORDS, min_size=1)
KEYS = st.tuples(WORDS, st.sampled_from(["object", "action"]))


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture])
@given(st.dictionaries(KEYS, NAMES, min_size=1, max_size=5))
def test_what_is_written_is_read(tmp_path, table):
    path = tmp_path / TRANSLATIONS_FILE
    with path.open("w", encoding="utf-8", newline="") as handle:
        writer = csv.writer(handle)
        writer.writerow(["name", "kind", "de", "ja"])
        writer.writerows([*key, names.get("de", ""), names.get("ja", "")] for key, names in table.items())
    assert read_translations(path) == table


class TestTheShippedTable:
    vocabulary = ModelDirectory(SHIPPED_MODEL).vocabulary

    def test_every_row_is_a_tag_s(self):
        tags = {(tag.name, tag.kind) for tag in self.vocabulary}
        assert read_translations(SHIPPED_MODEL / TRANSLATIONS_FILE).keys() <= tags

    @pytest.mark.parametrize("code", ["de", "es", "fr", "ja", "zh"])
    def test_nearly_every_tag_has_a_name(self, code):
        names = self.vocabulary.translations.names(code)
        assert len(names) > 0.95 * len(self.vocabulary)
        assert all(name == name.strip() and "," not in name for name in names.values())

    @pytest.mark.parametrize(
        ("name", "kind", "names"),
        [
            ("cat", "object", {"de": "Katze", "es": "gato", "fr": "chat", "ja": "猫", "zh": "猫"}),
            ("glass", "object", {"de": "Glas", "es": "vaso", "fr": "verre", "ja": "グラス", "zh": "玻璃杯"}),
            ("fly", "action", {"de": "fliegen", "es": "volar", "fr": "voler", "ja": "飛ぶ", "zh": "飞"}),
            ("orange", "object", {"de": "Orange", "es": "naranja", "fr": "orange", "ja": "オレンジ", "zh": "橙子"}),
            (
                "orange",
                "attribute",
                {"de": "orange", "es": "naranja", "fr": "orange", "ja": "オレンジ色", "zh": "橙色"},
            ),
        ],
    )
    def test_the_sense_is_the_tag_s(self, name, kind, names):
        tag = self.vocabulary.find(name, kind)
        assert self.vocabulary.translations.of(tag.id) == names

    def test_an_altered_table_is_noticed(self, tmp_path):
        import shutil

        folder = tmp_path / "lite"
        folder.mkdir()
        for name in ("config.json", "vocabulary.json", TRANSLATIONS_FILE):
            shutil.copy(SHIPPED_MODEL / name, folder / name)
        with (folder / TRANSLATIONS_FILE).open("a") as handle:
            handle.write("x")
        with pytest.raises(ModelError, match=r"translations\.csv: altered or damaged"):
            _ = ModelDirectory(folder).vocabulary
