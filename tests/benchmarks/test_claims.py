"""The pieces of ``benchmarks/claims.py`` that could be wrong without anybody noticing."""

from __future__ import annotations

import json
from types import SimpleNamespace

import claims
import numpy as np
import pytest
import torch
from _claims_config import CLAIMS, SETTINGS, Comparison, default_config
from _claims_data import manifest_pairs
from _claims_figures import score_queries, split_f1
from _claims_held_out import draw_held_out, mean_precision, without
from _claims_table import differences, missing, render, spread, verdict
from _claims_training import distillation_loss, run_config

from anytag.data_engine.manifest import Manifest, ManifestCaption, ManifestTag, PictureRecord, write_part
from anytag.errors import DataError, UsageError
from anytag.model.vocabulary import TagVocabulary, VocabularyTag
from anytag.nn.recognition_decoder import RecognitionDecoder
from anytag.training.families.feature_cache import CachedShard
from anytag.training.lite.batches import LiteBatch


class TestHeldOut:
    def test_draw_takes_supported_tags_that_need_not_stay(self):
        support = np.array([9, 5, 4, 7, 5, 0])
        assert draw_held_out(support, 3, 5, seed=1, kept={3}).tolist() == [0, 1, 4]

    def test_draw_depends_on_the_seed_alone(self):
        support = np.full(100, 5)
        first, again, other = (draw_held_out(support, 20, 5, seed) for seed in (0, 0, 1))
        assert first.tolist() == again.tolist() == sorted(set(first.tolist()))
        assert first.tolist() != other.tolist()

    def test_too_few(self):
        with pytest.raises(UsageError, match="2 tags are true of 5 validation pictures; 3 cannot be hidden"):
            draw_held_out(np.array([5, 5, 4]), 3, 5, 0)

    def test_hidden_tags_are_neither_right_nor_wrong_answers(self):
        nothing = torch.empty(0)
        fields = dict.fromkeys(LiteBatch.__dataclass_fields__, nothing)
        targets = torch.tensor([[True, False, True], [False, True, False]])
        batch = LiteBatch(**(fields | {"tag_ids": torch.tensor([2, 5, 9]), "tags": targets}))
        left = without(batch, np.array([5, 7]))
        assert left.tag_ids.tolist() == [2, 9]
        assert left.tags.tolist() == [[True, True], [False, False]]

    def test_average_precision_by_hand(self):
        # Tag 0: positives at ranks 1 and 3: (1/1 + 2/3) / 2. Tag 1: at rank 2: 1/2. Tag 2 has none. Tag 3 is seen.
        scores = np.array([[0.9, 0.1, 0.5, 0], [0.8, 0.9, 0.5, 0], [0.7, 0.5, 0.5, 0], [0.6, 0.2, 0.5, 1]], np.float32)
        truth = np.array([[1, 0, 0, 0], [0, 0, 0, 0], [1, 1, 0, 0], [0, 0, 0, 1]], bool)
        found = mean_precision(scores, truth, np.array([0, 1, 2]))
        assert found.ap == pytest.approx((5 / 6 + 1 / 2) / 2)
        assert found.chance == pytest.approx(3 / 8)
        assert found.tags == 2

    def test_no_tags(self):
        found = mean_precision(np.zeros((2, 1), np.float32), np.zeros((2, 1), bool), np.array([0]))
        assert np.isnan(found.ap)
        assert found.tags == 0


def test_threshold_comes_from_other_pictures_than_f1():
    # Even rows choose 0.5: two right of two. At 0.5 the odd rows have one right, one wrong, one missed.
    scores = np.array([[0.5, 0.1], [0.6, 0.6], [0.1, 0.5], [0.1, 0.4]], np.float32)
    truth = np.array([[1, 0], [1, 0], [0, 1], [0, 1]], bool)
    threshold, f1 = split_f1(scores, truth)
    assert threshold == pytest.approx(0.5)
    assert f1 == pytest.approx(2 * 1 / (2 + 2))


def test_scores_in_half_precision_are_told_apart():
    torch.manual_seed(0)
    decoder = RecognitionDecoder(32, 1, 2, 32, 32).eval()
    features, queries = torch.randn(3, 5, 32), torch.randn(400, 32)
    with torch.inference_mode():
        exact = decoder(features, queries).sigmoid().numpy()
        with torch.autocast("cpu", torch.bfloat16):
            scores = score_queries(decoder, features, queries, 2)
            coarse = decoder(features, queries).float().sigmoid().numpy()
    assert np.abs(scores - exact).max() < 0.02
    assert len(np.unique(scores[0])) > 390 > len(np.unique(coarse[0]))


class TestTraining:
    def test_distillation_by_hand(self):
        teacher = torch.tensor([[0.6, 0.8, 0.0, 0.0]])  # times 2, the root of its width
        features = torch.tensor([[1.0, 1.0, 0.0, 0.4]])
        assert float(distillation_loss(features, torch.nn.Identity(), teacher)) == pytest.approx((0.2 + 0.6 + 0.4) / 4)

    @pytest.mark.parametrize("steps", [1, 7, 389, 390, 1001])
    def test_runs_take_exactly_the_steps_asked_for(self, steps):
        config = run_config(default_config().training, SETTINGS["alone"], 4, steps, 390)
        assert max(1, round(config.stages[0].epochs * 390)) == steps
        assert (config.seed, config.objective.captioning, config.objective.tagging) == (4, 0.0, 1.0)

    def test_settings_differ_in_what_they_say(self):
        for setting in SETTINGS.values():
            loss = default_config().training.objective.model_copy(update=setting.loss)
            assert loss.model_dump().keys() == default_config().training.objective.model_dump().keys(), setting.name
        used = {arm.setting for claim in CLAIMS.values() for arm in claim.arms.values()}
        assert used == SETTINGS.keys()

    def test_same_time(self):
        seconds = {"joint": 0.6, "alone": 0.4}
        assert claims.steps_of(SETTINGS["alone"], 100, seconds) == 100
        assert claims.steps_of(SETTINGS["alone_longer"], 100, seconds) == 150


class TestManifestPairs:
    @pytest.fixture
    def manifest(self, tmp_path):
        vocabulary = TagVocabulary(
            [
                VocabularyTag(0, "animal", "object"),
                VocabularyTag(1, "dog", "object", implies=(0,)),
                VocabularyTag(2, "red", "attribute"),
            ]
        )
        vocabulary.save(tmp_path / "vocabulary.json")
        made = Manifest(tmp_path, "source", 1)
        captions = (ManifestCaption("a red dog", tags=(1, 2)), ManifestCaption("a dog", "generated", "m", (1,)))
        records = [
            PictureRecord("b", "s:b", 1, captions, (ManifestTag(1, "dog", "object", "parsed"),)),
            PictureRecord("c", "s:c", 2),
        ]
        write_part(made.part(0), records)
        made.save()
        return Manifest.load(tmp_path), vocabulary

    def prepared(self, vocabulary):
        tokenizer = SimpleNamespace(encode_caption=lambda text, limit: [len(text), limit])
        return SimpleNamespace(vocabulary=vocabulary, prompts=SimpleNamespace(tokenizer=tokenizer))

    def shard(self, names):
        maps = np.arange(len(names), dtype=np.float16).reshape(-1, 1, 1, 1)
        return CachedShard("s", [{"id": name} for name in names], [maps], np.zeros((len(names), 2), np.float16))

    def test_rows_find_their_features(self, manifest):
        made, vocabulary = manifest
        pairs = manifest_pairs(made, [self.shard("abc")], self.prepared(vocabulary))
        assert len(pairs) == 1  # One without captions cannot be learned from.
        assert pairs.maps([0], [0], [False]).flatten().tolist() == [1.0]
        picture = pairs.pictures[0]
        assert picture.tags.tolist() == [0, 1]
        assert [caption.ids for caption in picture.captions] == [[9, 26], [5, 26]]
        assert [caption.tags for caption in picture.captions] == [(1,), (1,)]  # "red" was removed.
        assert list(picture.text_embeddings) == [0, 1]

    def test_another_cache(self, manifest):
        made, vocabulary = manifest
        with pytest.raises(DataError, match="row 1 of s is not b; parse again"):
            manifest_pairs(made, [self.shard("axc")], self.prepared(vocabulary))


def entry(arm, seed, claim="alignment", steps=10, **figures):
    return {"claim": claim, "arm": arm, "seed": seed, "steps": steps, "trained_steps": steps, "figures": figures}


class FakeRuns:
    """Gives figures and remembers what it was asked; dies at a given call, as a killed run does."""

    def __init__(self, record, dies_at=None):
        self.record, self.dies_at, self.asked = record, dies_at, []

    def figures(self, setting, seed, steps):
        if len(self.asked) == self.dies_at:
            raise KeyboardInterrupt
        self.asked.append((setting, seed))
        keys = {key for claim in CLAIMS.values() for arm in claim.arms.values() for key in arm.figures.values()}
        return {"figures": dict.fromkeys(keys, 0.5 + seed), "trained_steps": steps}


class TestResume:
    def test_goes_on_where_it_was_stopped(self, tmp_path):
        out, config = tmp_path / "claims.json", default_config()
        runs = FakeRuns(claims.read_record(out, config), dies_at=3)
        with pytest.raises(KeyboardInterrupt):
            claims.run_claim(runs, "alignment", [0, 1], 10, out)
        assert runs.asked == [("alone", 0), ("aligned", 0), ("alone", 1)]
        again = FakeRuns(claims.read_record(out, config))
        claims.run_claim(again, "alignment", [0, 1], 10, out)
        assert again.asked == [("aligned", 1)]
        results = json.loads(out.read_text())["results"]
        assert [(e["arm"], e["seed"], e["steps"]) for e in results] == [
            ("without", 0, 10), ("with", 0, 10), ("without", 1, 10), ("with", 1, 10)
        ]  # fmt: skip
        assert results[3]["figures"]["mAP"] == 1.5

    def test_other_budgets_are_other_results(self):
        record = {"results": [entry("without", 0), entry("with", 0)]}
        assert list(missing(record, "alignment", 10, [0])) == []
        assert list(missing(record, "alignment", 20, [0])) == [("without", 0), ("with", 0)]
        assert list(missing(record, "alignment", 10, [0, 1])) == [("without", 1), ("with", 1)]

    def test_results_of_other_settings_are_not_mixed(self, tmp_path):
        out = tmp_path / "claims.json"
        claims.write_record(out, claims.read_record(out, default_config()))
        assert claims.read_record(out, default_config())["results"] == []
        with pytest.raises(SystemExit, match="contains results of other settings; choose another file with --out"):
            claims.read_record(out, default_config(limit=60))


class TestTable:
    COMPARISON = Comparison(column="mAP", better="with", worse="without")

    def seeds(self, *pairs):
        return [
            entry(arm, seed, mAP=value)
            for seed, pair in enumerate(pairs)
            for arm, value in zip(("without", "with"), pair, strict=True)
        ]

    def test_spread(self):
        assert spread([0.1, 0.2, 0.3]) == "0.200 ± 0.100"
        assert spread([0.25]) == "0.250"
        assert spread([None]) == ""

    def test_seeds_are_compared_in_pairs(self):
        entries = [*self.seeds((0.5, 0.6), (0.7, 0.75)), entry("with", 7, mAP=0.9)]
        assert differences(self.COMPARISON, entries) == pytest.approx([0.1, 0.05])

    @pytest.mark.parametrize(
        ("pairs", "words"),
        [
            ([(0.5, 0.6), (0.5, 0.61), (0.5, 0.59)], "+0.100 ± 0.006: holds."),
            ([(0.6, 0.5), (0.61, 0.5), (0.59, 0.5)], "**does not hold at this scale**"),
            ([(0.5, 0.6), (0.5, 0.45), (0.5, 0.55)], "**not decided** at this scale"),
            ([(0.5, 0.5), (0.5, 0.5), (0.5, 0.5)], "**not decided** at this scale"),
            ([(0.5, 0.6), (0.5, 0.61)], "2 of three seeds: not decided"),
        ],
    )
    def test_verdict(self, pairs, words):
        assert words in verdict(self.COMPARISON, self.seeds(*pairs))

    def test_nothing_to_compare(self):
        assert verdict(self.COMPARISON, [entry("with", 0, mAP=0.5)]) == ""

    def test_the_largest_budget_is_shown(self):
        older = entry("with", 0, steps=5, mAP=0.111)
        shown = render({"results": [older, *self.seeds((0.5, 0.6), (0.5, 0.62))]})
        assert "| without | 2 | 10 | 0.500 ± 0.000 |" in shown
        assert "| with | 2 | 10 | 0.610 ± 0.014 |" in shown
        assert "0.111" not in shown
        assert "0.111" in render({"results": [older]}, steps=5)

    def test_a_budget_that_lacks_an_arm_waits(self):
        begun = [entry("without", seed, steps=20, mAP=0.777) for seed in range(3)]
        assert "0.777" not in render({"results": [*self.seeds((0.5, 0.6)), *begun]})
        complete = render({"results": [*self.seeds((0.5, 0.6)), *begun, entry("with", 0, steps=20, mAP=0.888)]})
        assert "| without | 3 | 20 | 0.777 ± 0.000 |" in complete
        assert "| with | 1 | 20 | 0.888 |" in complete

    def test_a_budget_that_lacks_seeds_waits(self):
        begun = [entry(arm, seed, steps=20, mAP=0.777) for seed in range(2) for arm in ("without", "with")]
        decided = self.seeds((0.5, 0.6), (0.5, 0.6), (0.5, 0.6))
        assert "0.777" not in render({"results": [*decided, *begun]})
        begun += [entry(arm, 2, steps=20, mAP=0.777) for arm in ("without", "with")]
        fourth = [entry(arm, 3, mAP=0.5) for arm in ("without", "with")]
        assert "| with | 3 | 20 | 0.777 ± 0.000 |" in render({"results": [*decided, *fourth, *begun]})

    def test_no_results(self):
        assert render({"results": []}) == "No results yet.\n"
