import os
import re
import signal
import subprocess
import sys
import time

import pytest
from described_tags import BEACH, OWL, RED, RUN
from fixtures_chat import completion, serving
from hypothesis import given
from hypothesis import strategies as st

from anytag.language.label_texts.chat_endpoint import EndpointError
from anytag.language.label_texts.description_files import Undescribed, read_descriptions, write_descriptions
from anytag.language.label_texts.description_templates import QUESTIONS, questions
from anytag.language.label_texts.llm_descriptions import api_key, clean_answer, from_endpoint
from anytag.language.parsing.rules import ParsedTag


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setenv("no_proxy", "*")
    for name in ("ANYTAG_API_KEY", "OPENAI_API_KEY"):
        monkeypatch.delenv(name, raising=False)
    with serving() as chat:
        yield chat


def ask(server, *tags, **options):
    return from_endpoint(tags, server.url, "tiny", pause=0.01, **options)


class TestEndpoint:
    def test_a_plain_line_and_ten_answers_to_each_of_five_questions(self, server):
        (found,) = ask(server, OWL)
        assert found.lines[0] == "a photo of an owl."
        assert len(set(found.lines)) == len(found.lines) == 51
        assert (found.tag, found.kind, found.model) == ("owl", "object", "tiny")
        assert re.fullmatch(r"\d{4}-\d\d-\d\d", found.date)
        assert [body["n"] for _, _, body in server.requests] == [10] * 5
        assert [body["messages"][0]["content"] for _, _, body in server.requests] == questions(OWL)

    @pytest.mark.parametrize("per_tag", [1, 2, 4, 7, 51])
    def test_any_number_a_tag(self, server, per_tag):
        assert [len(found.lines) for found in ask(server, OWL, RED, per_tag=per_tag)] == [per_tag] * 2
        asked = {body["messages"][0]["content"] for _, _, body in server.requests}
        assert len(asked) == 2 * min(per_tag - 1, len(QUESTIONS))

    def test_tags_keep_their_order_however_long_answers_take(self, server):
        def plan(number, body):
            if "run" in body["messages"][0]["content"]:
                time.sleep(0.1)

        server.plan = plan
        found = [one.tag for one in ask(server, RUN, OWL, RED, BEACH, per_tag=2, workers=3)]
        assert found == ["run", "owl", "red", "beach"]

    def test_unusable_answers_are_requested_again(self, server):
        def plan(number, body):
            if number == 0:
                return 200, {}, completion("", "  \n ", "an owl", "Sorry, I can’t do that.", "As an AI I see none.")
            return None

        server.plan = plan
        (found,) = ask(server, OWL, per_tag=6)
        assert len(found.lines) == 6
        assert len(server.requests) == 6

    def test_the_same_answers_over_and_over_are_given_up(self, server):
        server.plan = lambda number, body: (200, {}, completion("It looks fine.", "it LOOKS fine."))
        (found,) = ask(server, OWL, per_tag=11)
        assert found == Undescribed(OWL, "2 of 11 usable descriptions; the others were short or the same")

    def test_later_questions_make_up_for_missing_answers(self, server):
        first = questions(OWL)[0]
        server.plan = lambda number, body: (
            (200, {}, completion("no")) if body["messages"][0]["content"] == first else None
        )
        (found,) = ask(server, OWL)
        assert len(found.lines) == 51

    def test_servers_that_give_one_answer_at_a_time_will_do(self, server):
        server.plan = lambda number, body: (200, {}, server.answers(1))
        (found,) = ask(server, OWL)
        assert len(found.lines) == 51
        assert len(server.requests) == 50

    def test_failures_on_the_way_cost_nothing(self, server):
        answers = [
            (500, {}, b""), (429, {"Retry-After": "0"}, b""), (200, {"Content-Length": 99}, b'{"cho'), (200, {}, b"no")
        ]  # fmt: skip
        server.plan = lambda number, body: answers[number // 2] if number % 2 == 0 and number < 8 else None
        found = list(ask(server, OWL, RED, workers=1))
        assert [len(one.lines) for one in found] == [51, 51]
        assert len(server.requests) == 14

    def test_a_server_that_refuses_ends_it(self, server):
        server.plan = lambda number, body: (401, {}, b"") if number > 6 else None
        results = ask(server, OWL, RED, BEACH, workers=1)
        assert next(results).tag == "owl"
        with pytest.raises(EndpointError, match="answered 401"):
            list(results)

    def test_the_key_comes_from_the_environment_and_goes_nowhere_else(self, server, monkeypatch, tmp_path, capfd):
        assert api_key() is None
        monkeypatch.setenv("OPENAI_API_KEY", "second")
        assert api_key() == "second"
        monkeypatch.setenv("ANYTAG_API_KEY", "s3cr3t")
        path = tmp_path / "out.jsonl"
        write_descriptions(path, [OWL], lambda tags: ask(server, *tags, per_tag=2), "tiny", 2)
        assert {headers["Authorization"] for _, headers, _ in server.requests} == {"Bearer s3cr3t"}
        list(ask(server, OWL, per_tag=2, key="given"))
        assert server.requests[-1][1]["Authorization"] == "Bearer given"
        assert "s3cr3t" not in path.read_text() + "".join(capfd.readouterr())

    @pytest.mark.parametrize(
        ("answer", "line"),
        [
            ('"An owl has\n a round face."', "An owl has a round face."),
            ("1. An owl has a face.", "An owl has a face."),
            ("- An owl has a face.", "An owl has a face."),
            ("<think>An owl is…\n</think>\n\nAn owl has a face.", "An owl has a face."),
            ("<think>An owl is a bird that", None),
            ("an owl", None),
            ("", None),
            ("I'm sorry, but I cannot help.", None),
        ],
    )
    def test_answers_become_lines(self, answer, line):
        assert clean_answer(answer) == line

    @given(st.text())
    def test_any_answer_becomes_one_line_or_none(self, answer):
        line = clean_answer(answer)
        assert line is None or ("\n" not in line and len(line.split()) >= 3)


class TestFiles:
    def test_a_killed_run_resumes(self, tmp_path, server):
        path, part = tmp_path / "out.jsonl", tmp_path / "out.jsonl.part"
        server.plan = lambda number, body: time.sleep(0.02)
        code = (
            "import sys\n"
            "from anytag.language.label_texts.description_files import write_descriptions\n"
            "from anytag.language.parsing.rules import ParsedTag\n"
            "from anytag.language.label_texts.llm_descriptions import from_endpoint\n"
            "tags = [ParsedTag(f'thing {n}', 'object') for n in range(200)]\n"
            "ask = lambda left: from_endpoint(left, sys.argv[1], 'tiny', per_tag=6, workers=1)\n"
            "write_descriptions(sys.argv[2], tags, ask, 'tiny', 6)\n"
        )
        run = subprocess.Popen([sys.executable, "-c", code, server.url, str(path)], env=os.environ | {"no_proxy": "*"})
        deadline = time.monotonic() + 60
        while not part.exists() or part.read_bytes().count(b"\n") < 3:
            assert time.monotonic() < deadline
            assert run.poll() is None
            time.sleep(0.01)
        run.send_signal(signal.SIGKILL)
        run.wait()
        assert not path.exists()
        kept = part.read_bytes().count(b"\n")
        assert 3 <= kept < 200
        server.plan = lambda number, body: None
        tags = [ParsedTag(f"thing {number}", "object") for number in range(kept + 4)]
        made = write_descriptions(path, tags, lambda left: ask(server, *left, per_tag=6), "tiny", 6)
        assert made == 4
        found = read_descriptions(path)
        assert [one.tag for one in found] == [tag.name for tag in tags]
        assert all(len(set(one.lines)) == 6 for one in found)
