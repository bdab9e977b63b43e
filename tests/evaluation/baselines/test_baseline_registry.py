"""Rivals by name: whether their weights are here, and what is said of a wrong option."""

from __future__ import annotations

import importlib
import os

import pytest

from anytag.errors import UsageError
from anytag.evaluation.baselines.registry import BASELINES, find_weights, open_baseline


@pytest.fixture(autouse=True)
def no_hub_cache(monkeypatch, tmp_path):
    """No weights that the machine happens to have."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    return tmp_path / "hub"


@pytest.mark.parametrize("key", BASELINES)
def test_every_rival_names_the_source_of_its_weights_and_finds_none_in_an_empty_folder(key, tmp_path):
    entry = BASELINES[key]
    assert entry.source.startswith("hub:") is not bool(entry.files)
    assert all(name in entry.weights for name in (*entry.files, entry.source))
    assert find_weights(entry, tmp_path) == []
    with pytest.raises(UsageError) as error:
        open_baseline(key, tmp_path)
    assert str(error.value) == f"baseline {key} needs weights: {key}=PATH ({entry.weights})"


def test_every_rival_has_its_class():
    pytest.importorskip("transformers")
    pytest.importorskip("torch")
    for entry in BASELINES.values():
        module, _, name = entry.opener.partition(".")
        found = getattr(importlib.import_module(f"anytag.evaluation.baselines.{module}"), name)
        assert found.paradigm == entry.paradigm


class TestLocalWeights:
    def clip(self, folder):
        (folder / "clip-vit-base-patch16").mkdir(parents=True)
        (folder / "clip-vit-base-patch16" / "config.json").write_text("{}")
        return str(folder / "clip-vit-base-patch16")

    def test_a_directory_named_as_its_repository(self, tmp_path):
        made = self.clip(tmp_path)
        assert find_weights(BASELINES["clip"], tmp_path) == [made]

    def test_a_file_with_its_published_name(self, tmp_path):
        file = tmp_path / "tresnet_m_open_images_200_groups_86_8.pth"
        file.touch()
        assert find_weights(BASELINES["ml-decoder"], tmp_path) == [str(file)]

    def test_all_required_files_or_nothing(self, tmp_path):
        for name in BASELINES["mkt"].files:
            assert find_weights(BASELINES["mkt"], tmp_path) == []
            (tmp_path / name).touch()
        assert find_weights(BASELINES["mkt"], tmp_path) == []
        clip = self.clip(tmp_path)
        files = [str(tmp_path / name) for name in BASELINES["mkt"].files]
        assert find_weights(BASELINES["mkt"], tmp_path) == [*files, clip]

    def test_the_hubs_cache(self, tmp_path, no_hub_cache):
        commit = "0" * 40
        snapshot = no_hub_cache / "models--facebook--detr-resnet-50" / "snapshots" / commit
        snapshot.mkdir(parents=True)
        (snapshot / "config.json").write_text("{}")
        (snapshot.parents[1] / "refs").mkdir()
        (snapshot.parents[1] / "refs" / "main").write_text(commit)
        assert find_weights(BASELINES["detector"], tmp_path) == [str(snapshot)]


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("ml-decoder=x,side=big", r"^baseline ml-decoder: side=big cannot be used \(invalid literal"),
        ("ml-decoder=x,classes=/nowhere", r"^baseline ml-decoder: classes=/nowhere cannot be used \(.*No such file"),
    ],
)
def test_invalid_options(spec, message):
    with pytest.raises(UsageError, match=message):
        open_baseline(spec)


def test_weights_found_by_name_are_opened_with_their_required_files(tmp_path):
    pytest.importorskip("transformers")
    from fixtures_rivals import save_mkt

    clip = tmp_path / "clip-vit-base-patch16"
    clip.mkdir()
    save_mkt(clip)
    (clip / "config.json").write_text("{}")
    for made, published in zip(("first.pth", "second.pth"), BASELINES["mkt"].files, strict=True):
        (clip / made).rename(tmp_path / published)
    baseline = open_baseline("mkt", tmp_path)
    assert baseline.title == "MKT"
    assert baseline.set_categories(["dog"], {}) == []


class TestIdentity:
    """Kept scores are those of all that they came of, not of the first file alone."""

    def test_other_texts_or_another_tokenizer(self, tmp_path):
        pytest.importorskip("transformers")
        from fixtures_rivals import save_mkt

        save_mkt(tmp_path)
        spec = f"mkt={tmp_path}/first.pth,texts={tmp_path}/second.pth,tokenizer={tmp_path}"
        first = open_baseline(spec).identity
        assert open_baseline(spec).identity == first
        os.utime(tmp_path / "second.pth", (1, 1))
        second = open_baseline(spec).identity
        os.utime(tmp_path / "merges.txt", (1, 1))
        assert len({first, second, open_baseline(spec).identity}) == 3

    def test_another_tokenizer_of_diht(self, tmp_path):
        pytest.importorskip("transformers")
        from fixtures_rivals import save_diht

        save_diht(tmp_path)
        spec = f"diht={tmp_path}/tiny.ckpt,tokenizer={tmp_path}"
        first = open_baseline(spec).identity
        os.utime(tmp_path / "vocab.json", (1, 1))
        assert open_baseline(spec).identity != first

    def test_other_names_of_classes(self, tmp_path):
        pytest.importorskip("torch")
        from fixtures_rivals import save_ml_decoder

        save_ml_decoder(tmp_path)
        spec = f"ml-decoder={tmp_path}/tiny.pth,classes={tmp_path}/names.txt"
        found = []
        for names in ("a\nb\nc\nd\ne\n", "b\na\nc\nd\ne\n"):
            (tmp_path / "names.txt").write_text(names)
            found.append(open_baseline(spec).identity)
        assert found[0] != found[1]
