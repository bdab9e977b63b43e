import pytest

from anytag.errors import VocabularyError
from anytag.language.tags.wordnet import WordNet

# Offset, words, offsets of hypernyms: a made-up database in WordNet's layout.
NOUNS = [("entity", []), ("animal beast", [0]), ("dog domestic_dog", [1]), ("cat", [1]), ("guide_dog", [2, 1])]


@pytest.fixture
def folder(tmp_path):
    for part in ("noun", "verb", "adj", "adv"):
        (tmp_path / f"data.{part}").write_text("  1 A licence.\n")
        (tmp_path / f"index.{part}").write_text("  1 A licence.\n")
    data, offsets = b"  1 A licence.\n", []
    width = 8
    for words, _ in NOUNS:
        offsets.append(len(data))
        data += b"?" * len(_line(0, words, [0] * len(dict(NOUNS)[words])))
    data = b"  1 A licence.\n"
    lemmas = {}
    for (words, above), offset in zip(NOUNS, offsets, strict=True):
        assert len(str(offset)) <= width
        data += _line(offset, words, [offsets[place] for place in above])
        for word in words.split():
            lemmas.setdefault(word, []).append(offset)
    (tmp_path / "data.noun").write_bytes(data)
    index = "".join(
        f"{lemma} n {len(found)} 1 @ {len(found)} 0 {' '.join(f'{o:08d}' for o in found)}  \n"
        for lemma, found in sorted(lemmas.items())
    )
    (tmp_path / "index.noun").write_text("  1 A licence.\n" + index)
    return tmp_path


def _line(offset, words, above):
    words = words.split()
    cells = [f"{offset:08d}", "03", "n", f"{len(words):02x}", *(f"{word} 0" for word in words), f"{len(above):03d}"]
    cells += [f"@ {one:08d} n 0000" for one in above]
    return (" ".join(cells) + " | what it means  \n").encode()


def test_lemmas_lead_to_synsets(folder):
    (dog,) = WordNet(folder).synsets("Dog")
    assert dog.words == ("dog", "domestic dog")
    assert dog.gloss == "what it means"
    assert dog.id == f"n{dog.offset:08d}"
    assert WordNet(folder).synsets("domestic dog") == [dog]


def test_unknown_lemmas_have_no_synsets(folder):
    assert WordNet(folder).synsets("unicorn") == []
    assert WordNet(folder).synsets("dog", "verb") == []


def test_ancestors_come_nearest_first_and_once(folder):
    net = WordNet(folder)
    (guide,) = net.synsets("guide dog")
    assert [one.words[0] for one in net.ancestors(guide)] == ["dog", "animal", "entity"]


def test_an_offset_between_synsets_is_refused(folder):
    net = WordNet(folder)
    (dog,) = net.synsets("dog")
    with pytest.raises(VocabularyError, match="there is no noun synset"):
        net.synset(dog.offset + 1)
    with pytest.raises(VocabularyError, match="there is no noun synset"):
        net.synset(10**7)


def test_a_folder_without_a_database_is_refused(tmp_path):
    with pytest.raises(VocabularyError, match="wordnet-base"):
        WordNet(tmp_path)
