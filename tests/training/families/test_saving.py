"""What a training run leaves on disk is whole, whenever it ends."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from types import SimpleNamespace

import pytest
import torch
from crashes import crashes
from fixtures_torch import TINY, tiny_tokenizer
from fixtures_toy import TAGS
from safetensors.torch import load_file

from anytag.errors import ModelError
from anytag.export.model import load_trained
from anytag.model.directory import ModelDirectory
from anytag.model.vocabulary import TagVocabulary
from anytag.training.lite.run import save_weights


def prepared(support):
    """As much of a prepared run as is saved."""
    return SimpleNamespace(
        label_embeddings=torch.full((len(TAGS), 24), float(support)),
        vocabulary=TagVocabulary([replace(tag, support=support) for tag in TAGS]),
        tokenizer=tiny_tokenizer(),
        config=SimpleNamespace(model=TINY.model_copy(update={"training_pictures": support})),
    )


def save(number, folder):
    network = torch.nn.Linear(1, 1)
    torch.nn.init.constant_(network.weight, number)
    save_weights(network, prepared(number), folder)


def saved(folder):
    """The numbers that the files of a model were made with."""
    directory = ModelDirectory(folder)
    weights = load_file(directory.file("model.safetensors"))["weight"]
    embeddings = load_file(directory.file("label_queries.safetensors"))["text_embeddings"]
    assert directory.file("tokenizer.json").stat().st_size
    return {
        int(weights), int(embeddings[0, 0]), directory.vocabulary[0].support, directory.config.training_pictures,
    }  # fmt: skip


def test_a_model_that_is_written_over_is_the_old_one_or_the_new_one(tmp_path, monkeypatch):
    seen, crashed = [], True
    while crashed:
        folder = tmp_path / str(len(seen)) / "model"
        save(1, folder)
        (folder / "README.md").write_text("the card")
        crashed = crashes(monkeypatch, len(seen), partial(save, 2, folder))
        [number] = saved(folder)
        seen.append(number)
        save(3, folder)
        assert saved(folder) == {3}
        names = {path.name for path in folder.parent.rglob("*") if path.is_file()}
        assert names == {
            "config.json", "vocabulary.json", "tokenizer.json", "model.safetensors", "label_queries.safetensors",
            "README.md",
        }  # fmt: skip
    assert seen == sorted(seen)
    assert seen.count(1) >= 6
    assert seen.count(2) == 5


@pytest.mark.parametrize("name", ["model.safetensors", "vocabulary.json"])
def test_a_damaged_file_is_noticed_before_it_is_exported(tmp_path, name):
    save(1, tmp_path / "model")
    path = tmp_path / "model" / name
    path.write_bytes(path.read_bytes()[:-9] + b"123456789")
    with pytest.raises(ModelError, match="altered or damaged"):
        load_trained(tmp_path / "model")
