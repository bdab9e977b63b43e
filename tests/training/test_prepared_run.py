"""Mistakes that show before the data are read, which may take hours for millions of captions."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")

from toy_pairs import config, write_pictures  # noqa: E402

from anytag.errors import UsageError  # noqa: E402
from anytag.training.dry_run import dry_run  # noqa: E402
from anytag.training.engine.config import Overrides  # noqa: E402
from anytag.training.run import train  # noqa: E402


@pytest.fixture
def unread(tmp_path, monkeypatch):
    """Data that must not be read yet."""
    write_pictures(tmp_path, 4)
    monkeypatch.setattr("anytag.training.prepared_run.open_data", lambda *more: pytest.fail("the data were opened"))
    return tmp_path


@pytest.mark.parametrize(
    ("family", "pairs", "message"),
    [
        ("tag2text", ["image_weights=gone.pth"], r"gone\.pth: no such file or folder"),
        ("tag2text", ["text_weights=gone.bin"], r"gone\.bin: no such file or folder"),
        ("ram", ["teacher.clip=gone"], r"gone: no such file or folder"),
        ("ram", ["teacher.clip=pairs.jsonl", "teacher.cached=gone"], r"gone: no such file or folder"),
        ("ram_plus", ["teacher.clip=pairs.jsonl", "teacher.descriptions=gone.json"], r"gone\.json: no such file"),
        ("tag2text", ["vocabulary.tags=gone.txt"], r"gone\.txt: no such file or folder"),
        ("tag2text", ["best_metric=map"], r"best_metric=map is of validation pictures; name some as validation"),
        (
            "tag2text",
            ["best_metric=alignment", 'validation=["pairs.jsonl"]'],
            r"best_metric=alignment: Tag2TextConfig has no alignment, so that validation has no such figure",
        ),
        (
            "ram_plus",
            ["teacher.clip=pairs.jsonl", "best_metric=cider", 'validation=["pairs.jsonl"]'],
            r"best_metric=cider: RamPlusConfig has no captioning",
        ),
        (
            "ram",
            ["teacher.clip=pairs.jsonl", "best_metric=text_recall_1", 'validation=["pairs.jsonl"]'],
            r"best_metric=text_recall_1: RamConfig has no contrast",
        ),
        ("ram", ["teacher.clip=null", "objective.distillation=1"], r"distillation needs a teacher"),
    ],
)
def test_before_the_data_are_opened(unread, family, pairs, message):
    given = Overrides(pairs).apply(config(family))
    for begin in (train, dry_run):
        with pytest.raises(UsageError, match=message):
            begin(given, unread, unread / "run", list)


def test_a_logger_that_is_not_installed(unread, monkeypatch):
    from anytag.errors import MissingExtraError

    monkeypatch.setitem(__import__("sys").modules, "wandb", None)
    with pytest.raises(MissingExtraError, match="wandb"):
        train(config(loggers=("wandb",)), unread, unread / "run", list)


def test_streams_of_unknown_length_before_their_captions_are_parsed(tmp_path, monkeypatch):
    import gzip

    from data_files import write_shards

    (shard,) = write_shards(tmp_path, [3])
    (tmp_path / "s.tar.gz").write_bytes(gzip.compress(shard.read_bytes()))
    monkeypatch.setattr(
        "anytag.training.prepared_run.initialize_model", lambda *more: pytest.fail("the data were read")
    )
    with pytest.raises(UsageError, match=r"set stream\.samples_per_epoch"):
        train(config(sources=("s.tar.gz",)), tmp_path, tmp_path / "run", list)
