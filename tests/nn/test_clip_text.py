"""CLIP's text encoder against the one of `transformers`, and as an ONNX graph."""

import numpy as np
import pytest
import torch
from conftest import require_module
from fixtures_clip import save_text_model
from safetensors.torch import load_file, save_file

from anytag.checkpoints.clip import read_clip_text, write_clip_text
from anytag.errors import ModelError
from anytag.language.label_texts.embedding_cache import EmbeddingCache, OpenSetEmbedder
from anytag.model.config import ClipTextConfig
from anytag.nn.clip_text import ClipTextEncoder, ClipTextTransformer

torch.set_num_threads(1)

TINY = ClipTextConfig(
    vocabulary=50, positions=12, width=16, layers=2, heads=4, inner=24, embedding=10, end_token=49, activation="gelu"
)


def tiny(config=TINY, seed=0):
    torch.manual_seed(seed)
    return ClipTextTransformer(config).eval()


def random_ids(rows, length, seed=0):
    """Texts of all lengths, each ended by 49."""
    ids = torch.from_numpy(np.random.default_rng(seed).integers(0, 49, (rows, length)))
    ends = torch.arange(rows) % length
    ids[torch.arange(rows), ends] = 49
    return ids


@pytest.mark.parametrize("activation", ["quick_gelu", "gelu"])
@pytest.mark.parametrize("eps", [1e-5, 1e-2])
def test_embeddings_are_those_of_transformers(tmp_path, activation, eps):
    require_module("transformers")
    theirs = save_text_model(tmp_path, hidden_act=activation, layer_norm_eps=eps)
    clip = read_clip_text(tmp_path)
    ours = ClipTextTransformer(clip.config).eval()
    ours.load_state_dict(clip.state)
    ids = random_ids(9, 12)
    ids[ids == 49] = clip.config.end_token
    with torch.no_grad():
        expected = theirs(input_ids=ids).text_embeds
        torch.testing.assert_close(ours.features(ids), expected, atol=1e-5, rtol=0)
        torch.testing.assert_close(ours(ids), expected / expected.norm(dim=-1, keepdim=True), atol=1e-5, rtol=0)


def test_what_follows_the_end_is_not_looked_at():
    model, ids = tiny(), random_ids(12, 12)
    longer = ids.clone()
    for row in longer:
        end = int((row == 49).int().argmax())
        row[end + 1 :] = 7
        row[end + 2 :] = 49
    with torch.no_grad():
        torch.testing.assert_close(model(ids), model(longer))
        torch.testing.assert_close(model(ids[:3]), model(ids[:3, :3]))


def test_sizes_that_contradict_each_other_are_refused():
    with pytest.raises(ModelError, match="width 16 does not divide into 3 heads"):
        tiny(TINY.model_copy(update={"heads": 3}))
    with pytest.raises(ModelError, match="the end token 50 is not in a vocabulary of 50"):
        tiny(TINY.model_copy(update={"end_token": 50}))


def test_the_onnx_graph_computes_what_the_module_does(tmp_path):
    require_module("onnxscript")
    from anytag.export.graphs import GraphSpec
    from anytag.export.onnx import check_parity, export_graph

    spec = GraphSpec(
        name="clip_text",
        module=tiny(),
        inputs={"ids": random_ids(3, 7)},
        outputs=("embeddings",),
        dynamic={"ids": {0: "texts", 1: "length"}, "embeddings": {0: "texts"}},
        variants=lambda: [{"ids": random_ids(*shape)} for shape in ((1, 12), (5, 3), (2, 1))],
    )
    export_graph(spec, tmp_path / "clip_text.onnx")
    assert check_parity(spec, tmp_path / "clip_text.onnx", tolerance=1e-5) < 1e-5


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """A model directory's part, and the model of `transformers` that it was made of."""
    require_module("transformers")
    source, folder = tmp_path_factory.mktemp("clip"), tmp_path_factory.mktemp("model")
    theirs = save_text_model(source)
    clip = read_clip_text(source)
    assert write_clip_text(clip, folder) == ("clip_text.safetensors", "label_tokenizer.json")
    return folder, clip.config, theirs


def test_texts_become_unit_vectors_whatever_the_batch(saved, monkeypatch):
    folder, config, theirs = saved
    texts = ["An owl", "a hen", "", "owls and hens, by the dozen: 120!", "ÖL 鷹", "an owl"]
    with monkeypatch.context() as patched:
        patched.setattr("anytag.nn.clip_text._BATCH", 2)
        found = ClipTextEncoder.load(folder, config).embed(texts)
    assert found.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(found, axis=1), 1, atol=1e-6)
    np.testing.assert_allclose(found, ClipTextEncoder.load(folder, config).embed(texts), atol=1e-6)
    np.testing.assert_allclose(found[0], found[-1], atol=1e-6)
    encoder = ClipTextEncoder.load(folder, config)
    for text, row in zip(texts, found, strict=True):
        ids = encoder.tokenizer.encode(text).ids
        assert len(ids) <= config.positions
        with torch.no_grad():
            expected = theirs(input_ids=torch.tensor([ids])).text_embeds[0].numpy()
        np.testing.assert_allclose(row, expected / np.linalg.norm(expected), atol=1e-5)
    assert encoder.embed([]).shape == (0, 10)


def test_open_set_embeddings_come_out_of_it(saved, tmp_path):
    folder, config, _ = saved
    embedder = OpenSetEmbedder(ClipTextEncoder.load(folder, config), EmbeddingCache(tmp_path))
    assert embedder.for_ram(["owl", "hen"]).shape == (2, 10)
    assert embedder.for_descriptions([["a bird of night", "an owl"]]).shape == (1, 2, 10)


def test_the_fingerprint_is_of_weights_sizes_and_tokenizer(saved, tmp_path):
    folder, config, _ = saved
    encoder = ClipTextEncoder.load(folder, config)
    assert encoder.fingerprint == ClipTextEncoder.load(folder, config).fingerprint
    others = {encoder.fingerprint}
    for name in ("clip_text.safetensors", "label_tokenizer.json"):
        (tmp_path / name).write_bytes((folder / name).read_bytes())
    others.add(ClipTextEncoder.load(tmp_path, config.model_copy(update={"activation": "gelu"})).fingerprint)
    text = (folder / "label_tokenizer.json").read_text(encoding="utf-8")
    (tmp_path / "label_tokenizer.json").write_text(text.replace('"Lowercase"', '"NFKD"'), encoding="utf-8")
    others.add(ClipTextEncoder.load(tmp_path, config).fingerprint)
    state = load_file(folder / "clip_text.safetensors")
    state["norm.bias"][0] += 1e-3
    save_file(state, tmp_path / "clip_text.safetensors")
    others.add(ClipTextEncoder.load(tmp_path, config).fingerprint)
    assert len(others) == 4


def test_half_precision_files_are_read(saved, tmp_path):
    folder, config, _ = saved
    (tmp_path / "label_tokenizer.json").write_bytes((folder / "label_tokenizer.json").read_bytes())
    state = {name: tensor.half() for name, tensor in load_file(folder / "clip_text.safetensors").items()}
    save_file(state, tmp_path / "clip_text.safetensors")
    found = ClipTextEncoder.load(tmp_path, config).embed(["owl"])
    np.testing.assert_allclose(found, ClipTextEncoder.load(folder, config).embed(["owl"]), atol=5e-3)


def test_files_that_do_not_fit_are_named(saved, tmp_path):
    folder, config, _ = saved
    with pytest.raises(ModelError, match=r"clip_text\.safetensors: missing; this model cannot embed new categories"):
        ClipTextEncoder.load(tmp_path, config)
    weights, tokenizer = tmp_path / "clip_text.safetensors", tmp_path / "label_tokenizer.json"
    whole = (folder / weights.name).read_bytes()
    weights.write_bytes(whole[:-5])
    with pytest.raises(ModelError, match=r"label_tokenizer\.json: missing"):
        ClipTextEncoder.load(tmp_path, config)
    tokenizer.write_text("{}")
    with pytest.raises(ModelError, match=r"clip_text\.safetensors: damaged"):
        ClipTextEncoder.load(tmp_path, config)
    weights.write_bytes(whole)
    with pytest.raises(ModelError, match=r"label_tokenizer\.json: not a tokenizer"):
        ClipTextEncoder.load(tmp_path, config)
    with pytest.raises(ModelError, match=r"layers\.2\.attention_norm\.bias is missing"):
        ClipTextEncoder.load(tmp_path, config.model_copy(update={"layers": 3}))
    with pytest.raises(ModelError, match=r"the weight layers\.1\.attention_norm\.bias is not part of this model"):
        ClipTextEncoder.load(tmp_path, config.model_copy(update={"layers": 1}))
    with pytest.raises(ModelError, match=r"projection\.weight has the shape \(10, 16\) instead of \(11, 16\)"):
        ClipTextEncoder.load(tmp_path, config.model_copy(update={"embedding": 11}))
