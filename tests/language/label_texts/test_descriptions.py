import json

import pytest
from described_tags import BEACH, OWL, RED, RUN
from hypothesis import given
from hypothesis import strategies as st

from anytag.errors import UsageError, VocabularyError
from anytag.language.label_texts.description_files import (
    TagDescriptions,
    Undescribed,
    lines_of,
    read_descriptions,
    write_descriptions,
)
from anytag.language.label_texts.description_templates import (
    gerund,
    plain_line,
    questions,
    template_lines,
    with_article,
)
from anytag.language.label_texts.descriptions import (
    FROM_TEMPLATES,
    FROM_WORDNET,
    from_wordnet,
)
from anytag.language.parsing.rules import ParsedTag
from anytag.language.tags.wordnet import Synset
from anytag.recognition import TAG_KINDS

TABLE = {
    ("crane", "noun"): [
        Synset("noun", 1, ("crane", "stephen crane"), "United States writer (1871-1900)", (9,)),
        Synset("noun", 2, ("crane",), 'lifts and moves heavy objects; "a crane by the sea"; "it lifts!"', (8,)),
    ],
    ("chair", "noun"): [Synset("noun", 3, ("chair",), "a seat for one person", (8,))],
    ("run", "verb"): [Synset("verb", 4, ("run", "race"), "move fast by using one's feet", ())],
    ("red", "adj"): [Synset("adj", 5, ("red", "reddish"), "of the color of blood", ())],
}


class Net:
    """A WordNet of four words."""

    def synsets(self, lemma, part):
        return list(TABLE.get((lemma, part), ()))

    def ancestors(self, synset):
        whole = Synset("noun", 8, ("artifact",), "", ())
        physical = Synset("noun", 7, ("physical entity",), "", ())
        return {(8,): [whole, physical]}.get(synset.hypernyms, [])


class TestWords:
    @pytest.mark.parametrize(
        ("name", "phrase"),
        [
            ("owl", "an owl"),
            ("Uniform", "a Uniform"),
            ("unripe banana", "an unripe banana"),
            ("hourglass", "an hourglass"),
            ("one-way sign", "a one-way sign"),
            ("glasses", "glasses"),
            ("jeans", "jeans"),
            ("bus", "a bus"),
            ("chest of drawers", "a chest of drawers"),
            ("", "a "),
        ],
    )
    def test_articles(self, name, phrase):
        assert with_article(name) == phrase

    @pytest.mark.parametrize(
        ("name", "form"),
        [
            ("run", "running"),
            ("ride", "riding"),
            ("lie", "lying"),
            ("see", "seeing"),
            ("play", "playing"),
            ("frolic", "frolicking"),
            ("pick up", "picking up"),
            ("sing", "singing"),
            ("running", "running"),
            ("surfing alone", "surfing alone"),
            ("ski", "skiing"),
            ("open", "opening"),
            ("quit", "quitting"),
            ("", ""),
        ],
    )
    def test_gerunds(self, name, form):
        assert gerund(name) == form

    def test_kinds_get_fitting_lines(self):
        assert [plain_line(tag) for tag in (OWL, BEACH, RED, RUN)] == [
            "a photo of an owl.",
            "a photo of a beach.",
            "a photo of something red.",
            "a photo of someone or something running.",
        ]

    @pytest.mark.parametrize("kind", TAG_KINDS)
    def test_templates_are_many_and_differ(self, kind):
        lines = list(template_lines(ParsedTag("thing", kind)))
        assert len(lines) == len(set(lines)) == 132
        assert lines[0] == plain_line(ParsedTag("thing", kind))

    def test_questions_name_the_tag(self):
        assert len(questions(OWL)) == len(set(questions(OWL))) == 5
        assert all("an owl" in question and '"owl"' in question for question in questions(OWL))
        assert all("{" not in question for question in questions(RUN))


class TestWordNet:
    def test_visible_senses_come_first(self):
        (found,) = from_wordnet([ParsedTag("crane", "object")], Net())
        assert found.lines[:6] == (
            "a photo of a crane.",
            "a crane: lifts and moves heavy objects.",
            "a photo of a crane, lifts and moves heavy objects.",
            "a crane, a kind of artifact.",
            "a crane, a kind of physical entity.",
            "a crane by the sea.",
        )
        assert found.lines[6] == "a crane: United States writer (1871-1900)."
        assert found.lines[8] == "a crane, also called stephen crane."
        assert found.model == FROM_WORDNET
        assert found.date is None

    def test_other_kinds_get_their_own_sentences(self):
        run, red, chair = from_wordnet(
            [ParsedTag("running", "action"), RED, ParsedTag("folding chairs", "object")], Net()
        )
        assert run.lines[1:3] == (
            "someone or something running: move fast by using one's feet.",
            "a photo of someone or something racing.",
        )
        assert red.lines[1:3] == ("something red: of the color of blood.", "a photo of something reddish.")
        assert chair.lines[1] == "folding chairs, a kind of chair: a seat for one person."
        assert chair.lines[2].startswith("a close-up of folding chairs")

    @given(st.text(min_size=1), st.sampled_from(TAG_KINDS), st.integers(1, 132))
    def test_lines_are_as_many_as_asked_for_and_differ(self, name, kind, per_tag):
        tags = [ParsedTag(name, kind), ParsedTag("run", "action"), ParsedTag("crane", "object")]
        for found in from_wordnet(tags, Net(), per_tag):
            assert len({line.lower() for line in found.lines}) == len(found.lines) == per_tag

    def test_without_glosses_there_are_templates_and_a_warning(self):
        with pytest.warns(UserWarning, match="descriptions are made of templates alone"):
            (found,) = from_wordnet([OWL], None)
        assert len(set(found.lines)) == 51
        assert found.model == FROM_TEMPLATES

    def test_more_than_there_are_is_refused(self):
        with pytest.raises(UsageError, match="there are no more than 132 templates for 'owl'; ask for fewer"):
            list(from_wordnet([OWL], Net(), 133))
        with pytest.raises(UsageError, match="0 descriptions a tag are too few"):
            list(from_wordnet([OWL], Net(), 0))


def plain(tags):
    """One description a tag."""
    return (TagDescriptions(tag.name, (plain_line(tag),), tag.kind, "m") for tag in tags)


class TestFiles:
    def test_files_are_read_back(self, tmp_path):
        path = tmp_path / "out.jsonl"
        tags = [
            OWL,
            ParsedTag("train", "object"),
            ParsedTag("train", "action"),
            ParsedTag("Öl\u2028 鷹", "object"),
            OWL,
        ]
        assert write_descriptions(path, tags, plain, "m", 1) == 4
        found = read_descriptions(path)
        assert found == list(plain(tags[:4]))
        assert lines_of(tags, found) == [[plain_line(tag)] for tag in tags]
        assert [file.name for file in tmp_path.iterdir()] == ["out.jsonl"]

    def test_a_longer_list_costs_its_new_tags_only(self, tmp_path):
        path, seen = tmp_path / "out.jsonl", []

        def describe(tags):
            seen.append([tag.name for tag in tags])
            return plain(tags)

        write_descriptions(path, [OWL, RED], describe, "m", 1)
        steps = []
        more = [BEACH, ParsedTag("Owl", "object"), RUN]
        assert write_descriptions(path, more, describe, "m", 1, lambda *at: steps.append(at)) == 2
        assert seen == [["owl", "red"], ["beach", "run"]]
        assert steps == [(1, 3), (2, 3), (3, 3)]
        assert [one.tag for one in read_descriptions(path)] == ["beach", "owl", "run", "red"]
        assert write_descriptions(path, more, describe, "m", 1) == 0
        assert len(seen) == 2

    def test_an_interrupted_run_resumes(self, tmp_path):
        path, part = tmp_path / "out.jsonl", tmp_path / "out.jsonl.part"

        def stopped(tags):
            yield from plain(tags[:2])
            raise KeyboardInterrupt

        tags = [OWL, BEACH, RED, RUN]
        with pytest.raises(KeyboardInterrupt):
            write_descriptions(path, tags, stopped, "m", 1)
        assert not path.exists()
        assert len(part.read_text().splitlines()) == 2
        with part.open("ab") as file:
            file.write('{"tag": "Ö'.encode()[:-1])  # torn within a letter
        assert write_descriptions(path, tags, plain, "m", 1) == 2
        assert [one.tag for one in read_descriptions(path)] == ["owl", "beach", "red", "run"]
        assert not part.exists()

    def test_undescribed_tags_are_reported_at_the_end(self, tmp_path):
        path = tmp_path / "out.jsonl"

        def describe(tags):
            return (Undescribed(tag, "too little") if tag.name == "red" else next(plain([tag])) for tag in tags)

        with pytest.raises(
            VocabularyError, match=r"^1 of 3 tags could not be described, the first is 'red': too little\. The others"
        ):
            write_descriptions(path, [OWL, RED, RUN], describe, "m", 1)
        assert not path.exists()
        assert write_descriptions(path, [OWL, RED, RUN], plain, "m", 1) == 1
        assert [one.tag for one in read_descriptions(path)] == ["owl", "red", "run"]

    def test_a_file_has_one_model_and_number_of_descriptions(self, tmp_path):
        path = tmp_path / "out.jsonl"
        write_descriptions(path, [OWL], plain, "m", 1)
        before = path.read_bytes()
        for model, per_tag in (("other", 1), ("m", 2)):
            with pytest.raises(UsageError, match=rf"has 1 descriptions per tag by m, not {per_tag} by {model}; finish"):
                write_descriptions(path, [OWL, RED], plain, model, per_tag)
        assert path.read_bytes() == before

    @pytest.mark.parametrize(
        "content",
        [
            '[{"Owl": ["a", "b"]}, {"train": ["c", "d"]}]',
            '[\n {"Owl": ["a", "b"],\n  "train": ["c", "d"]}\n]',
            '[{"Owl": {"q1": ["a"], "q2": ["b"]}}, {"train": {"q1": ["c", "d"]}}]',
            '{"Owl": ["a", "b"], "train": ["c", "d"]}',
            '{\n"Owl": ["a", "b"],\n"train": ["c", "d"]\n}\n',
            '{"tag": "Owl", "descriptions": ["a", "b"]}\n\n{"tag": "train", "descriptions": ["c", "d"]}\n',
            '\ufeff{"tag": "Owl", "descriptions": ["a", "b"]}\r\n{"tag": "train", "descriptions": ["c", "d"]}',
        ],
    )
    def test_published_layouts_are_read(self, tmp_path, content):
        path = tmp_path / "them.json"
        path.write_bytes(content.encode())
        found = read_descriptions(path)
        assert [(one.tag, one.lines, one.kind) for one in found] == [
            ("Owl", ("a", "b"), None),
            ("train", ("c", "d"), None),
        ]
        assert lines_of([ParsedTag("train", "action"), OWL, ParsedTag("train", "object")], found) == [
            ["c", "d"],
            ["a", "b"],
            ["c", "d"],
        ]

    @pytest.mark.parametrize(
        ("content", "complaint"),
        [
            ("", "there are no descriptions in it"),
            ("[]", "there are no descriptions in it"),
            ('{"tag": "owl", "descriptions": ["a"]}\n{"tag": "o', r"line 2: not JSON \("),
            ('{"tag": "owl", "descriptions": ["a"]}\n\n[1]', "line 3: there is no tag; a line is an object with tag"),
            ('{"descriptions": ["a"]}\n', "line 1: there is no tag"),
            ('{"tag": "owl", "descriptions": []}', "line 1: descriptions are a list of texts, at least one"),
            ('{"tag": "owl", "descriptions": "abc"}', "line 1: descriptions are a list of texts, at least one"),
            ('{"tag": "owl", "descriptions": ["a", " "]}', "line 1: description 2 is empty or not a text: ' '"),
            ('{"tag": "owl", "descriptions": ["a", 5]}', "line 1: description 2 is empty or not a text: 5"),
            ('{"tag": "owl", "kind": "bird", "descriptions": ["a"]}', "line 1: unknown kind 'bird'; kinds are object"),
            ("a photo of an owl\n", r"line 1: not JSON \("),
            ('[{"owl": ["a"]},\n {"red": ["b"]', r"line 2: not JSON \("),
            ('[{"owl": ["a"]}, {"red": [null]}]', r"entry 2 \('red'\): description 1 is empty or not a text: None"),
            ('[{"owl": ["a"]}, 7]', "entry 2: not an object from a tag to its descriptions"),
            ('[{"": ["a"]}]', r"entry 1 \(''\): the tag has no name"),
            ('[{"owl": {"q": "abc"}}]', r"entry 1 \('owl'\): descriptions are a list of texts"),
        ],
    )
    def test_errors_name_the_line(self, tmp_path, content, complaint):
        path = tmp_path / "bad.jsonl"
        path.write_text(content)
        with pytest.raises(VocabularyError, match=rf"bad\.jsonl: {complaint}"):
            read_descriptions(path)

    def test_unreadable_files_are_reported(self, tmp_path):
        with pytest.raises(VocabularyError, match="no such file of descriptions"):
            read_descriptions(tmp_path / "none.jsonl")
        (tmp_path / "bytes").write_bytes(b"\xff\xfe\x00")
        with pytest.raises(VocabularyError, match="cannot be read as text"):
            read_descriptions(tmp_path / "bytes")

    def test_kinds_in_the_file_distinguish_senses(self):
        things = [ParsedTag("train", "object"), ParsedTag("train", "action")]
        described = [TagDescriptions("train", (kind,), kind) for kind in ("object", "action")]
        assert lines_of(reversed(things), described) == [["action"], ["object"]]
        assert lines_of([ParsedTag("Train", "scene")], described) == [["object"]]

    def test_tags_without_descriptions_are_named(self):
        names = [ParsedTag(f"tag {number}", "object") for number in range(7)]
        with pytest.raises(
            VocabularyError, match=r"^7 tags have no descriptions: tag 0, .*tag 4, …; add them with: any"
        ):
            lines_of(names, [TagDescriptions("owl", ("a",))])


def test_lines_are_json():
    line = TagDescriptions("鷹", ("a", "b"), "object", "m", "2025-01-31").to_json()
    assert json.loads(line) == {
        "tag": "鷹",
        "kind": "object",
        "model": "m",
        "date": "2025-01-31",
        "descriptions": ["a", "b"],
    }
