"""Each caption is parsed once: across passes, threads and restarts, whatever happened to the file."""

from __future__ import annotations

import sqlite3
from concurrent.futures import ThreadPoolExecutor

import pytest

from anytag.language.parsing.parsed_captions import ParsedCaptions
from anytag.language.parsing.parser import load_parser

CAPTIONS = [f"a {color} dog on the {place}" for color in ("red", "blue", "big") for place in ("grass", "sofa", "beach")]


@pytest.fixture
def parser():
    return load_parser("light")


def test_it_finds_what_the_parser_finds(parser, tmp_path):
    kept = ParsedCaptions(parser, tmp_path)
    assert kept.name == "light"
    assert kept.parse(CAPTIONS[0]) == parser.parse(CAPTIONS[0])
    assert list(kept.parse_many(iter(CAPTIONS))) == list(parser.parse_many(CAPTIONS))
    assert list(kept.parse_many([])) == []


def test_a_caption_is_parsed_once(parser, tmp_path):
    kept = ParsedCaptions(parser, tmp_path)
    for _ in range(2):
        list(kept.parse_many(CAPTIONS + CAPTIONS[:3]))
        kept.parse(CAPTIONS[4])
    assert kept.parsed == len(CAPTIONS)
    again = ParsedCaptions(parser, tmp_path)
    assert list(again.parse_many(CAPTIONS)) == list(parser.parse_many(CAPTIONS))
    assert again.parsed == 0


def test_threads_take_turns(parser, tmp_path):
    kept = ParsedCaptions(parser, tmp_path)
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(kept.parse, CAPTIONS * 20))
    assert found == [parser.parse(caption) for caption in CAPTIONS] * 20
    assert kept.parsed == len(CAPTIONS)


def test_unwritten_results_are_parsed_again(parser, tmp_path):
    """As after a kill: one caption alone is not written until there are many, or it is asked for."""
    ParsedCaptions(parser, tmp_path).parse(CAPTIONS[0])
    again = ParsedCaptions(parser, tmp_path)
    again.parse(CAPTIONS[0])
    again.flush()
    third = ParsedCaptions(parser, tmp_path)
    third.parse(CAPTIONS[0])
    assert (again.parsed, third.parsed) == (1, 0)


def test_two_parsers_share_the_file(parser, tmp_path):
    first, second = ParsedCaptions(parser, tmp_path), ParsedCaptions(parser, tmp_path)
    list(first.parse_many(CAPTIONS[:5]))
    list(second.parse_many(CAPTIONS))
    assert (first.parsed, second.parsed) == (5, len(CAPTIONS) - 5)


def test_a_damaged_file_is_replaced(parser, tmp_path):
    kept = ParsedCaptions(parser, tmp_path)
    list(kept.parse_many(CAPTIONS))
    kept.path.write_bytes(b"no database" * 100)
    again = ParsedCaptions(parser, tmp_path)
    assert list(again.parse_many(CAPTIONS)) == list(parser.parse_many(CAPTIONS))
    assert again.parsed == len(CAPTIONS)


def test_captions_are_parsed_while_the_file_is_locked(parser, tmp_path):
    kept = ParsedCaptions(parser, tmp_path)
    kept._file.execute("PRAGMA busy_timeout = 1")
    blocker = sqlite3.connect(kept.path)
    blocker.execute("BEGIN EXCLUSIVE")
    assert list(kept.parse_many(CAPTIONS)) == list(parser.parse_many(CAPTIONS))
    blocker.rollback()
    blocker.close()
    kept.flush()
    again = ParsedCaptions(parser, tmp_path)
    list(again.parse_many(CAPTIONS))
    assert again.parsed == 0
