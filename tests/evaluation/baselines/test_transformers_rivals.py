"""Rivals in ``transformers`` layouts: tiny random directories; scores and captions against the library's own models."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from conftest import require_module
from fixtures_rivals import pictures, preprocessor
from torch.nn import functional as F

from anytag.errors import ModelError, UsageError
from anytag.evaluation.baselines.base import read_transform
from anytag.evaluation.baselines.prompts import PLAIN
from anytag.recognition import Failure

require_module("transformers")

NAMES = ["dog", "hat"]


@pytest.fixture(scope="module")
def shown():
    return pictures()


def pixels(folder, shown):
    transform = read_transform(folder)
    return torch.from_numpy(np.stack([transform(picture) for picture in shown]))


class TestClip:
    @pytest.fixture(scope="class")
    @staticmethod
    def folder(tmp_path_factory):
        from fixtures_directories import save_clip

        folder = tmp_path_factory.mktemp("clip")
        save_clip(folder)
        return folder

    def test_cosines_of_prompt_ensembles(self, folder, shown):
        from transformers import AutoTokenizer, CLIPModel

        from anytag.evaluation.baselines.contrast import ContrastBaseline

        baseline = ContrastBaseline(folder, PLAIN)
        assert baseline.title == "CLIP"
        assert baseline.set_categories(NAMES, {}) == []
        found = np.stack(list(baseline.scores(shown)))
        model, tokenizer = CLIPModel.from_pretrained(folder).eval(), AutoTokenizer.from_pretrained(folder)
        ids = tokenizer([PLAIN[0].format(name) for name in NAMES], return_tensors="pt", padding=True)
        with torch.no_grad():
            output = model(pixel_values=pixels(folder, shown), **ids)
        expected = output.logits_per_image / model.logit_scale.exp()
        np.testing.assert_allclose(found, expected.detach(), atol=1e-5)
        assert np.ptp(found) > 0.01

    def test_the_ensemble_is_the_mean_of_unit_vectors(self, folder):
        from anytag.evaluation.baselines.contrast import ContrastBaseline

        baseline = ContrastBaseline(folder, ("a {}", "the {}"))
        baseline.set_categories(["dog"], {})
        expected = F.normalize(baseline.embed_texts(["a dog", "the dog"]).mean(0), dim=0)
        torch.testing.assert_close(baseline._texts[0], expected)

    def test_texts_are_truncated(self, folder):
        from anytag.evaluation.baselines.contrast import ContrastBaseline

        baseline = ContrastBaseline(folder)
        found = baseline.embed_texts(["dog" * 100, "dog" * 200])
        torch.testing.assert_close(found[0], found[1])

    def test_a_missing_weight(self, folder, tmp_path):
        from safetensors.torch import load_file, save_file

        from anytag.evaluation.baselines.contrast import ContrastBaseline

        for file in folder.iterdir():
            (tmp_path / file.name).write_bytes(file.read_bytes())
        state = load_file(tmp_path / "model.safetensors")
        del state["visual_projection.weight"]
        save_file(state, tmp_path / "model.safetensors", {"format": "pt"})
        with pytest.raises(ModelError, match=r"lacks visual_projection\.weight \(1 weight\); it is not a CLIPModel"):
            ContrastBaseline(tmp_path)

    def test_another_family(self, tmp_path):
        from anytag.evaluation.baselines.contrast import ContrastBaseline

        (tmp_path / "config.json").write_text(json.dumps({"model_type": "bert"}))
        with pytest.raises(ModelError, match=r"model_type is 'bert'; expected CLIP, SigLIP or SigLIP 2$"):
            ContrastBaseline(tmp_path)


def test_siglip_pads_texts_to_its_length(tmp_path, shown):
    from fixtures_directories import save_siglip
    from transformers import SiglipModel

    from anytag.evaluation.baselines.contrast import ContrastBaseline

    save_siglip(tmp_path)
    baseline = ContrastBaseline(tmp_path, PLAIN)
    baseline.set_categories(NAMES, {})
    found = np.stack(list(baseline.scores(shown)))
    model = SiglipModel.from_pretrained(tmp_path).eval()
    ids = torch.tensor(
        [
            (pieces + [0] * 8)[:8]
            for pieces in baseline.tokenizer([PLAIN[0].format(name) for name in NAMES])["input_ids"]
        ]
    )
    with torch.no_grad():
        output = model(input_ids=ids, pixel_values=pixels(tmp_path, shown))
    expected = ((output.logits_per_image - model.logit_bias) / model.logit_scale.exp()).detach()
    np.testing.assert_allclose(found, expected, atol=1e-5)
    assert baseline.title == "SigLIP"


def test_siglip_2_of_a_fixed_size_is_recognized_by_its_vocabulary(tmp_path, shown):
    from fixtures_directories import save_siglip2

    from anytag.evaluation.baselines.registry import open_baseline

    save_siglip2(tmp_path)
    baseline = open_baseline(f"siglip2={tmp_path}")
    assert baseline.title == "SigLIP 2"
    assert baseline.length == 64
    baseline.set_categories(NAMES, {})
    found = np.stack(list(baseline.scores(shown)))
    assert found.shape == (3, 2)
    assert (np.abs(found) <= 1 + 1e-6).all()
    assert np.ptp(found) > 0.01


class TestBlip:
    @pytest.fixture(scope="class")
    @staticmethod
    def folders(tmp_path_factory):
        from fixtures_directories import save_blip
        from transformers import BlipForConditionalGeneration, BlipForImageTextRetrieval

        made = []
        for cls in (BlipForImageTextRetrieval, BlipForConditionalGeneration):
            made.append(tmp_path_factory.mktemp("blip"))
            save_blip(made[-1], cls)
        return made

    @pytest.mark.parametrize("head", ["itc", "itm"])
    def test_alignment(self, folders, shown, head):
        from transformers import BlipForImageTextRetrieval

        from anytag.evaluation.baselines.blip import BlipAlignmentBaseline

        baseline = BlipAlignmentBaseline(folders[0], head, PLAIN)
        baseline.set_categories([*NAMES, "dog"], {})
        found = np.stack(list(baseline.scores(shown)))
        model = BlipForImageTextRetrieval.from_pretrained(folders[0]).eval()
        for column, name in enumerate([*NAMES, "dog"]):
            ids = baseline.tokenizer([PLAIN[0].format(name)] * len(shown), return_tensors="pt")
            given = {"input_ids": ids["input_ids"], "attention_mask": ids["attention_mask"]}
            with torch.no_grad():
                output = model(**given, pixel_values=pixels(folders[0], shown), use_itm_head=head == "itm").itm_score
            expected = output.softmax(-1)[:, 1] if head == "itm" else output.diagonal()
            np.testing.assert_allclose(found[:, column], expected, atol=1e-5)
        assert np.ptp(found) > 1e-4

    def test_captions_become_tags(self, folders, shown):
        from transformers import BlipForConditionalGeneration

        from anytag.evaluation.baselines.blip import BlipCaptioningBaseline

        baseline = BlipCaptioningBaseline(folders[1])
        written = list(baseline.captions(shown))
        model = BlipForConditionalGeneration.from_pretrained(folders[1]).eval()
        ids = baseline.tokenizer(["a picture of "], return_tensors="pt")["input_ids"]
        for caption, picture in zip(written, shown, strict=True):
            made = model.generate(
                pixels(folders[1], [picture]), input_ids=ids, num_beams=3, max_length=20, min_length=5, do_sample=False
            )
            whole = baseline.tokenizer.decode(made[0], skip_special_tokens=True)
            assert whole.removeprefix("a picture of").strip() == caption
        baseline.set_categories(NAMES, {})
        baseline.write = lambda batch: ["two dogs in a hat", "a photo", "a dog"][: len(batch)]
        assert np.stack(list(baseline.scores(shown))).tolist() == [[1, 1], [0, 0], [1, 0]]

    def test_a_bad_picture_has_no_caption(self, folders, shown, tmp_path):
        from anytag.evaluation.baselines.blip import BlipCaptioningBaseline

        found = list(BlipCaptioningBaseline(folders[1]).captions([shown[0], str(tmp_path / "none.jpg")]))
        assert isinstance(found[0], str)
        assert isinstance(found[1], Failure)


def test_blip_2(tmp_path, shown):
    from fixtures_directories import save_blip2
    from transformers import Blip2ForConditionalGeneration

    from anytag.evaluation.baselines.captioners import Blip2Baseline

    save_blip2(tmp_path)
    baseline = Blip2Baseline(tmp_path)
    written = list(baseline.captions(shown))
    model = Blip2ForConditionalGeneration.from_pretrained(tmp_path).eval()
    options = {"num_beams": 5, "max_new_tokens": 30, "min_new_tokens": 8, "do_sample": False}
    made = model.generate(pixel_values=pixels(tmp_path, shown), **options)
    assert written == [text.strip() for text in baseline.tokenizer.batch_decode(made, skip_special_tokens=True)]
    assert all(len(text.split()) >= 7 for text in written)


def test_florence_2(tmp_path, shown):
    from fixtures_directories import save_florence2

    from anytag.evaluation.baselines.captioners import Florence2Baseline

    save_florence2(tmp_path)
    baseline = Florence2Baseline(tmp_path)
    written = list(baseline.captions(shown))
    assert len(written) == 3
    assert all(isinstance(text, str) for text in written)
    # A picture's caption does not depend on the others of its batch.
    assert list(baseline.captions(shown[1:2])) == written[1:2]
    with pytest.raises(UsageError, match=r"^Florence-2 has no task 'ocr' here; tasks are caption, "):
        Florence2Baseline(tmp_path, "ocr")


class TestDetectors:
    def test_detr(self, tmp_path, shown):
        from fixtures_directories import save_detr
        from transformers import DetrForObjectDetection, DetrImageProcessorPil

        from anytag.evaluation.baselines.detector import DetectorBaseline

        save_detr(tmp_path)
        baseline = DetectorBaseline(tmp_path)
        assert baseline.set_categories(["stop sign", "quark", "hound"], {"hound": ("dog",)}) == ["quark"]
        found = np.stack(list(baseline.scores(shown)))
        model = DetrForObjectDetection.from_pretrained(tmp_path).eval()
        processor = DetrImageProcessorPil.from_pretrained(tmp_path)
        with torch.no_grad():
            output = model(**processor(images=shown, return_tensors="pt"))
        for row, boxes in enumerate(processor.post_process_object_detection(output, threshold=0.0)):
            surest = output.logits[row].softmax(-1).amax(0)
            np.testing.assert_allclose(found[row, [0, 2]], surest[[2, 1]], atol=1e-5)
            for label, score in zip(boxes["labels"].tolist(), boxes["scores"].tolist(), strict=True):
                if label == 2:
                    assert score <= found[row, 0] + 1e-5
        assert np.isnan(found[:, 1]).all()

    def test_rt_detr(self, tmp_path, shown):
        from fixtures_directories import save_rt_detr
        from transformers import RTDetrForObjectDetection, RTDetrImageProcessorPil

        from anytag.evaluation.baselines.registry import open_baseline

        save_rt_detr(tmp_path)
        baseline = open_baseline(f"rt-detr={tmp_path}")
        assert baseline.title == "RT-DETR"
        assert baseline.set_categories(["stop sign", "quark", "dog"], {}) == ["quark"]
        found = np.stack(list(baseline.scores(shown)))
        model = RTDetrForObjectDetection.from_pretrained(tmp_path).eval()
        processor = RTDetrImageProcessorPil.from_pretrained(tmp_path)
        with torch.no_grad():
            output = model(**processor(images=shown, return_tensors="pt"))
        # Its classes do not exclude each other, and there is none for "nothing".
        np.testing.assert_allclose(found[:, [2, 0]], output.logits.sigmoid().amax(1), atol=1e-5)
        assert np.isnan(found[:, 1]).all()

    def test_grounding_dino_scores_names(self, tmp_path, shown):
        from fixtures_dino import WORDS
        from fixtures_directories import save_dino
        from transformers import GroundingDinoForObjectDetection

        from anytag.evaluation.baselines import detector

        save_dino(tmp_path)
        baseline = detector.GroundingDinoBaseline(tmp_path)
        assert baseline.set_categories(["dog", "red cat", "Sea", "dog"], {}) == []
        found = np.stack(list(baseline.scores(shown)))
        model = GroundingDinoForObjectDetection.from_pretrained(tmp_path).eval()
        text = "[CLS] dog . red cat . sea . [SEP]"
        ids = torch.tensor([[WORDS.index(word) for word in text.split()]] * len(shown))
        seen = baseline.processor(images=shown, return_tensors="pt")
        with torch.no_grad():
            logits = model(input_ids=ids, attention_mask=torch.ones_like(ids), **seen).logits.sigmoid()
        expected = torch.stack([logits[..., 1], logits[..., 3:5].mean(-1), logits[..., 6], logits[..., 1]], -1).amax(1)
        np.testing.assert_allclose(found, expected, atol=1e-5)

    def test_grounding_dino_prompts_are_not_too_long(self, tmp_path, shown):
        from fixtures_directories import save_dino

        from anytag.evaluation.baselines import detector

        save_dino(tmp_path)  # It reads 24 pieces: marks at both ends, and a full stop behind every name.
        baseline = detector.GroundingDinoBaseline(tmp_path)
        many = ["dog", "red cat", *(f"red {'sea ' * number}grass" for number in range(1, 8))]
        longest, longer = "red " * 20 + "sea", "red " * 21 + "sea"
        assert baseline.set_categories([*many, longer, longest, "Dog"], {}) == [longer]
        found = np.stack(list(baseline.scores(shown)))
        assert np.isnan(found[:, len(many)]).all()
        assert np.isfinite(np.delete(found, len(many), 1)).all()
        np.testing.assert_array_equal(found[:, 0], found[:, -1])
        # Names go in together as long as they fit into the 22 between the marks.
        lengths = [[len(pieces) + 1 for pieces in part] for part in baseline._parts]
        assert lengths == [[2, 3, 4, 5, 6], [7, 8], [9, 10], [22]]
        with pytest.raises(ModelError, match=r"^Grounding DINO: none of the categories can be read \(red .*\)"):
            baseline.set_categories([longer], {})

    def test_none_of_the_categories(self):
        from anytag.evaluation.baselines.detector import DetectorBaseline

        baseline = object.__new__(DetectorBaseline)
        baseline.title, baseline.places = "DETR", {"dog": 0, "cat": 1}
        with pytest.raises(ModelError, match=r"^DETR: none of the categories \(quark\) is among its 2 classes$"):
            baseline.set_categories(["quark"], {})


class TestReadTransform:
    def test_no_size(self, tmp_path):
        (tmp_path / "preprocessor_config.json").write_text("{}")
        with pytest.raises(ModelError, match=r"contains no height and width \(None, None\)$"):
            read_transform(tmp_path)

    def test_missing(self, tmp_path):
        with pytest.raises(
            ModelError, match=r"preprocessor_config\.json: missing; give a directory as transformers saves"
        ):
            read_transform(tmp_path)

    @pytest.mark.parametrize("crop", [False, True])
    def test_equals_the_librarys_own(self, tmp_path, crop):
        from transformers import CLIPImageProcessorPil

        preprocessor(tmp_path, 16, crop=crop)
        [picture] = pictures(1, (50, 40))
        processor = CLIPImageProcessorPil.from_pretrained(tmp_path)
        expected = processor(images=picture, return_tensors="np")["pixel_values"][0]
        np.testing.assert_allclose(read_transform(tmp_path)(picture), expected, atol=1e-5)
