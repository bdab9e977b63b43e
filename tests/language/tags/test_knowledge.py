"""The reviewed tables agree with themselves and with each other."""

import re
from collections import Counter
from importlib.resources import files

import pytest

from anytag.language.tags.knowledge import (
    NOTHING,
    WORD_CLASSES,
    Knowledge,
    NameIndex,
    load_knowledge,
    singulars,
    squash,
    word_class,
)
from anytag.recognition import TAG_KINDS

KNOWLEDGE = load_knowledge()
COCO_18 = [
    "person", "bicycle", "car", "motorcycle", "airplane", "bus", "train", "truck", "boat", "traffic light",
    "fire hydrant", "stop sign", "parking meter", "bench", "bird", "cat", "dog", "horse",
]  # fmt: skip


def closure(key):
    words, found, pending = key[0], set(), [key[1]]
    while pending:
        for parent in KNOWLEDGE.parents.get((words, pending.pop()), ()):
            if parent not in found:
                found.add(parent)
                pending.append(parent)
    return found


def table(name):
    text = (files("anytag.language") / "data" / name).read_text(encoding="utf-8")
    return [line.split("\t") for line in text.splitlines() if line and not line.startswith("#")]


def test_every_imagenet_class_has_a_row_in_class_order():
    wnids = [item.wnid for item in KNOWLEDGE.imagenet]
    assert len(wnids) == len(set(wnids)) == 1000
    assert wnids == sorted(wnids)
    assert all(re.fullmatch(r"n\d{8}", wnid) for wnid in wnids)


@pytest.mark.parametrize(
    ("place", "name"),
    [
        (0, "tench"),
        (151, "chihuahua"),
        (281, "tabby cat"),
        (430, "basketball"),
        (779, "school bus"),
        (999, "toilet paper"),
    ],
)
def test_known_classes_stand_in_their_place(place, name):
    assert KNOWLEDGE.imagenet[place].name == name


def test_kinds_distinguish_senses_and_duplicates_merge():
    names = Counter(item.name for item in KNOWLEDGE.imagenet)
    assert {"crane (bird)", "construction crane", "kite (bird)"} <= set(names)
    assert {name for name, count in names.items() if count > 1} == {
        "bathtub", "cassette player", "computer monitor", "corn", "husky", "laptop", "missile", "one-piece swimsuit",
        "sunglasses", "tabby cat",
    }  # fmt: skip


@pytest.mark.parametrize("name", ["imagenet_tags.tsv", "synonyms.tsv", "implies.tsv", "blocked.tsv", "scenes.txt"])
def test_names_are_in_normal_form(name):
    for row in table(name):
        for cell in row[:3]:
            for entry in cell.split("; "):
                assert entry == NOTHING or entry == " ".join(entry.lower().split()), (row, entry)
                assert not (entry == "" and cell != ""), row


def test_no_alias_belongs_to_two_tags_or_is_a_tag():
    owners = {}
    for (words, name), aliases in KNOWLEDGE.aliases.items():
        for alias in aliases:
            assert owners.setdefault((words, alias), name) == name, alias
    tags = {*KNOWLEDGE.aliases, *(("noun", item.name) for item in KNOWLEDGE.imagenet), *KNOWLEDGE.parents}
    assert not tags & set(owners)


def test_aliases_are_listed_once():
    for key, aliases in KNOWLEDGE.aliases.items():
        assert len(aliases) == len(set(aliases)), key


def test_implications_name_tags_not_aliases_and_have_no_circles():
    for key, parents in KNOWLEDGE.parents.items():
        assert key[1] not in closure(key), key
        for name in (key[1], *parents):
            assert KNOWLEDGE.canonical(key[0], name) == name, (key, name)


def test_blocked_names_are_not_reviewed_as_tags():
    tags = {*KNOWLEDGE.aliases, *KNOWLEDGE.parents, *(("noun", item.name) for item in KNOWLEDGE.imagenet)}
    assert not tags & KNOWLEDGE.blocked
    assert not {(w, a) for (w, _), aliases in KNOWLEDGE.aliases.items() for a in aliases} & KNOWLEDGE.blocked


def test_people_are_no_animals_and_animals_no_people():
    for words, name in KNOWLEDGE.parents:
        assert not {"person", "animal"} <= closure((words, name)), name
    assert "animal" not in closure(("noun", "person"))


@pytest.mark.parametrize(
    ("name", "implied"),
    [
        ("puppy", "animal"), ("jet", "airplane"), ("fire truck", "truck"), ("school bus", "bus"), ("pony", "horse"),
        ("taxi", "car"), ("sailboat", "boat"), ("dirt bike", "motorcycle"), ("batter", "person"), ("mallard", "bird"),
        ("golden retriever", "dog"), ("banana", "food"), ("park bench", "furniture"), ("stop sign", "sign"),
    ],
)  # fmt: skip
def test_common_implications(name, implied):
    assert implied in closure(("noun", name))


@pytest.mark.parametrize(
    ("name", "never"),
    [("teddy bear", "bear"), ("hot dog", "dog"), ("guinea pig", "pig"), ("sea lion", "lion"), ("home plate", "plate"),
     ("starfish", "fish"), ("jellyfish", "fish"), ("cougar", "cat"), ("zebra", "horse"), ("police officer", "man")],
)  # fmt: skip
def test_misleading_compounds_do_not_imply_their_head(name, never):
    assert KNOWLEDGE.canonical("noun", name) == name
    assert never not in closure(("noun", name))


@pytest.mark.parametrize("name", COCO_18)
def test_common_categories_are_tags(name):
    assert KNOWLEDGE.canonical("noun", name) == name


@pytest.mark.parametrize(
    ("words", "name", "tag"),
    [
        ("noun", "motorbike", "motorcycle"), ("noun", "planes", "airplane"), ("noun", "bikes", "bicycle"),
        ("noun", "firehydrant", "fire hydrant"), ("noun", "stop signs", "stop sign"), ("noun", "people", "person"),
        ("noun", "skate boards", "skateboard"), ("noun", "tee shirt", "t-shirt"), ("noun", "cell phones", "cell phone"),
        ("noun", "stoplights", "traffic light"), ("noun", "butterflies", "butterfly"), ("noun", "buses", "bus"),
        ("noun", "woods", "forest"), ("noun", "sea", "ocean"), ("attribute", "grey", "gray"),
        ("attribute", "snow-covered", "snowy"), ("action", "leap", "jump"), ("action", "smiling", "smile"),
    ],
)  # fmt: skip
def test_names_lead_to_their_tag(words, name, tag):
    assert KNOWLEDGE.canonical(words, name) == tag


def test_no_tag_is_the_plural_or_another_spelling_of_a_second():
    tags = {*KNOWLEDGE.aliases, *KNOWLEDGE.parents, *(("noun", item.name) for item in KNOWLEDGE.imagenet)}
    spellings = {}
    for words, name in tags:
        spellings.setdefault((words, squash(name)), []).append(name)
    assert {key: names for key, names in spellings.items() if len(names) > 1} == {}
    plurals = {(words, one) for words, one in tags if words == "noun" for s in singulars(one) if (words, s) in tags}
    assert {name for _, name in plurals} == {"glasses"}


def test_unknown_names_lead_nowhere():
    assert KNOWLEDGE.canonical("noun", "flumph") is None
    assert KNOWLEDGE.canonical("action", "dog") is None


def test_every_kind_has_a_word_class():
    assert {word_class(kind) for kind in TAG_KINDS} == set(WORD_CLASSES)


def test_plurals_and_joined_words():
    assert list(singulars("glass")) == []
    assert "berry" in list(singulars("berries"))
    assert "dish" in list(singulars("dishes"))
    assert squash("t-shirt") == squash("t shirt") == "tshirt"


def test_the_first_entry_keeps_its_name():
    index = NameIndex()
    index.add("noun", "skate board", 1)
    index.add("noun", "skateboard", 2)
    assert index.get("noun", "skate board") == 1
    assert index.get("noun", "skateboards") == 2
    assert index.get("noun", "skate-board") == 1
    assert index.get("action", "skateboard") is None


def test_a_small_set_of_tables_stands_alone():
    small = Knowledge((), {("noun", "dog"): ("hound",)}, {}, frozenset(), frozenset({"beach"}))
    assert small.canonical("noun", "hounds") == "dog"
    assert small.canonical("noun", "beach") == "beach"
