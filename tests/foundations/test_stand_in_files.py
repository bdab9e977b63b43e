"""Web pages and pointers in the place of large files are known, wherever weights are read."""

from __future__ import annotations

import shutil

import pytest
from data_files import write_shards

from anytag.datasets import open_source
from anytag.errors import ModelError, UsageError
from anytag.foundations.stand_in_files import stand_in
from anytag.model.directory import SHIPPED_MODEL, ModelDirectory

POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:ab\nsize 1389\n"
PAGES = [b"<!DOCTYPE html>\n<html>", b"\n  <HTML lang='en'>", b"\xef\xbb\xbf<html>", b"<?xml version='1.0'?><Error>"]


@pytest.mark.parametrize("content", PAGES)
def test_a_web_page(content, tmp_path):
    (tmp_path / "model.pth").write_bytes(content)
    assert stand_in(tmp_path / "model.pth").startswith("a web page, not the file itself")


def test_a_pointer(tmp_path):
    (tmp_path / "model.pth").write_bytes(POINTER)
    assert stand_in(tmp_path / "model.pth").endswith("git lfs pull")


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04", b"\x80\x02}", b"a < b"])
def test_real_files_are_not_recognized(content, tmp_path):
    (tmp_path / "model.pth").write_bytes(content)
    assert stand_in(tmp_path / "model.pth") is None
    assert stand_in(tmp_path / "gone.pth") is None


@pytest.mark.parametrize("content", [POINTER, PAGES[0]])
def test_every_weight_reader_recognizes_them(content, tmp_path):
    pytest.importorskip("torch")
    from anytag.checkpoints.weight_files import read_weights
    from anytag.evaluation.baselines.base import read_checkpoint

    for name, read in (("a.pth", read_weights), ("a.safetensors", read_weights), ("b.pt", read_checkpoint)):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(ModelError, match=rf"{name}: a (pointer of Git LFS|web page), not the file itself; \w+"):
            read(tmp_path / name)


def test_a_model_folder_that_was_cloned_without_its_large_files(tmp_path):
    for name in ("config.json", "vocabulary.json"):
        shutil.copy(SHIPPED_MODEL / name, tmp_path / name)
    (tmp_path / "evidence.safetensors").write_bytes(POINTER)
    with pytest.raises(ModelError, match=r"evidence\.safetensors: a pointer of Git LFS.*git lfs pull"):
        ModelDirectory(tmp_path).file("evidence.safetensors")


@pytest.mark.parametrize("content", [POINTER, PAGES[0]])
@pytest.mark.parametrize("name", ["a.csv", "a.jsonl", "a.json", "a.tar", "a.parquet"])
def test_every_data_reader_recognizes_them(content, name, tmp_path):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(UsageError, match=rf"{name}: a (pointer of Git LFS|web page), not the file itself"):
        open_source(tmp_path / name)


def test_one_of_several_shards_is_a_pointer(tmp_path):
    write_shards(tmp_path, [2, 3])
    (tmp_path / "shard-001.tar").write_bytes(POINTER)
    source = open_source(str(tmp_path / "shard-*.tar"))
    assert len(source) == 2
    (problem,) = source.problems
    assert str(problem).startswith("shard-001.tar: a pointer of Git LFS")
