"""Model directories of training runs are whole, whenever the process ends."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

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
from anytag.training.families.initialization import InitialModel
from anytag.training.families.model_files import write_model


def save(number, folder):
    """A model whose files all contain the number."""
    network = torch.nn.Linear(1, 1)
    torch.nn.init.constant_(network.weight, number)
    start = InitialModel(
        config=TINY,
        model=network,
        vocabulary=TagVocabulary([replace(tag, support=number) for tag in TAGS]),
        origins=(None,) * len(TAGS),
        caption_tokenizer=tiny_tokenizer(),
        label_embeddings=torch.full((len(TAGS), 24), float(number)),
    )
    write_model(folder, network, start, f"card {number}", pictures=number)


def saved(folder):
    """The numbers in the files of a model."""
    directory = ModelDirectory(folder)
    weights = load_file(directory.file("model.safetensors"))["weight"]
    embeddings = load_file(directory.file("label_queries.safetensors"))["text_embeddings"]
    assert directory.file("tokenizer.json").stat().st_size
    card = directory.file("README.md").read_text()
    return {
        int(weights), int(embeddings[0, 0]), directory.vocabulary[0].support, directory.config.training_pictures,
        int(card.removeprefix("card ")),
    }  # fmt: skip


def test_a_model_that_is_written_over_is_the_old_one_or_the_new_one(tmp_path, monkeypatch):
    seen, crashed = [], True
    while crashed:
        folder = tmp_path / str(len(seen)) / "model"
        save(1, folder)
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
    assert seen.count(2) == 6


@pytest.mark.parametrize("name", ["model.safetensors", "vocabulary.json"])
def test_a_damaged_file_is_noticed_before_it_is_exported(tmp_path, name):
    save(1, tmp_path / "model")
    path = tmp_path / "model" / name
    path.write_bytes(path.read_bytes()[:-9] + b"123456789")
    with pytest.raises(ModelError, match="altered or damaged"):
        load_trained(tmp_path / "model")
