"""CLIP directories of `transformers`, read without that library; and those that are not as they should be."""

import json
import pickle

import pytest
import torch
from conftest import require_module
from fixtures_clip import save_text_model, save_whole_model, tokenizer_files
from safetensors.torch import load_file, save_file

from anytag.checkpoints.clip import read_clip_text, rename, write_clip_text
from anytag.errors import ModelError
from anytag.nn.clip_text import ClipTextEncoder, ClipTextTransformer

TEXTS = ["An owl", "a\n hen  hen", "the 21 hens' owl, it's here!", "", "ÖL 鷹 🦉", "owl " * 30, "a<|endoftext|>b"]


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    """A whole CLIP model, saved."""
    require_module("transformers")
    folder = tmp_path_factory.mktemp("whole")
    save_whole_model(folder)
    return folder


@pytest.fixture
def copy(source, tmp_path):
    """The same, to be damaged."""
    for file in source.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    return tmp_path


def change_config(folder, **values):
    path = folder / "config.json"
    record = json.loads(path.read_text())
    for name, value in values.items():
        place = record["text_config"] if name in record["text_config"] and name != "model_type" else record
        place[name] = value
    path.write_text(json.dumps(record))


def change_weights(folder, change):
    path = folder / "model.safetensors"
    state = load_file(path)
    change(state)
    save_file(state, path, {"format": "pt"})


def test_both_layouts_give_the_same_network(source, tmp_path):
    from transformers import CLIPModel

    whole = CLIPModel.from_pretrained(source)
    clip = read_clip_text(source)
    ours = ClipTextTransformer(clip.config).eval()
    ours.load_state_dict(clip.state)
    ids = torch.randint(0, 500, (4, 9))
    ids[:, -1] = clip.config.end_token
    with torch.no_grad():
        expected = whole.text_projection(whole.text_model(input_ids=ids).pooler_output)
        torch.testing.assert_close(ours.features(ids), expected, atol=1e-5, rtol=0)
    save_text_model(tmp_path)
    text = read_clip_text(tmp_path)
    assert text.config == clip.config
    assert text.state.keys() == clip.state.keys()
    assert text.dropped == {}


def test_every_weight_is_accounted_for(source):
    clip = read_clip_text(source)
    names = load_file(source / "model.safetensors").keys()
    assert len(clip.state) + len(clip.dropped) == len(names)
    assert clip.state.keys() == ClipTextTransformer(clip.config).state_dict().keys()
    left_out = {name for name in names if not name.startswith(("text_model.", "text_projection."))}
    assert clip.dropped.keys() == left_out
    assert clip.dropped["logit_scale"] == "the temperature of CLIP's own comparison"
    assert {why for name, why in clip.dropped.items() if name.startswith("vision_model.")} == {
        "the image encoder: RAM has its own"
    }


def test_position_ids_are_dropped(copy):
    name = "text_model.embeddings.position_ids"
    change_weights(copy, lambda state: state.update({name: torch.arange(12)[None]}))
    assert read_clip_text(copy).dropped[name] == "a buffer: the numbers 0, 1, 2, …"


def test_half_precision_becomes_single(copy, source):
    change_weights(copy, lambda state: state.update({name: tensor.half() for name, tensor in state.items()}))
    exact = read_clip_text(source).state
    for name, tensor in read_clip_text(copy).state.items():
        assert tensor.dtype == torch.float32
        torch.testing.assert_close(tensor, exact[name], atol=2e-3, rtol=2e-3)


def test_weights_in_parts_and_pickled_ones_are_read(source, copy):
    whole = copy / "model.safetensors"
    state = load_file(whole)
    whole.unlink()
    torch.save(state, copy / "pytorch_model.bin")
    expected = read_clip_text(source).state
    for kind in ("pickled", "old pickle", "parts"):
        if kind == "old pickle":
            torch.save(state, copy / "pytorch_model.bin", _use_new_zipfile_serialization=False)
        if kind == "parts":
            files = ("model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors")
            where = {name: files[number % 2] for number, name in enumerate(state)}
            for file in files:
                save_file({name: tensor for name, tensor in state.items() if where[name] == file}, copy / file)
            (copy / "model.safetensors.index.json").write_text(json.dumps({"weight_map": where}))
        found = read_clip_text(copy).state
        assert found.keys() == expected.keys()
        assert all(torch.equal(found[name], expected[name]) for name in found)


@pytest.mark.parametrize("whole_file", [False, True])
def test_the_tokenizer_is_that_of_transformers(source, tmp_path, whole_file):
    from transformers import CLIPTokenizer

    vocabulary = json.loads((source / "vocab.json").read_text(encoding="utf-8"))
    merges = [tuple(line.split()) for line in (source / "merges.txt").read_text().splitlines()[1:] if line]
    theirs = CLIPTokenizer(vocab=vocabulary, merges=merges)
    for file in source.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    if whole_file:
        theirs.save_pretrained(tmp_path)
        assert (tmp_path / "tokenizer.json").is_file()
        (tmp_path / "vocab.json").unlink(missing_ok=True)
    ours = read_clip_text(tmp_path).tokenizer
    for text in TEXTS:
        expected = theirs(text, truncation=True, max_length=12)["input_ids"]
        assert ours.encode(text).ids == expected, text
    assert "owl</w>" in ours.encode("An owl").tokens
    assert ours.encode("a" * 99 + " b").ids[-1] == vocabulary["<|endoftext|>"]


def test_legacy_configs_mean_the_last_piece(copy, source):
    # Configs of 2023 and before name 2 as the end of a text; `transformers` then looks for the largest id.
    change_config(copy, eos_token_id=2)
    assert read_clip_text(copy).config == read_clip_text(source).config
    record = json.loads((copy / "config.json").read_text())
    record["text_config_dict"] = record.pop("text_config")
    (copy / "config.json").write_text(json.dumps(record))
    assert read_clip_text(copy).config == read_clip_text(source).config


def test_what_a_config_leaves_out_is_as_in_vit_b_16(copy):
    record = json.loads((copy / "config.json").read_text())
    del record["text_config"]["num_hidden_layers"]
    (copy / "config.json").write_text(json.dumps(record))
    with pytest.raises(ModelError, match=r"the weight layers\.10\.attention_norm\.bias is missing"):
        read_clip_text(copy)


def test_files_are_written_whole_or_not_at_all(source, tmp_path, monkeypatch):
    clip = read_clip_text(source)
    write_clip_text(clip, tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["clip_text.safetensors", "label_tokenizer.json"]
    before = (tmp_path / "clip_text.safetensors").read_bytes()

    def break_off(state, path, metadata):
        with open(path, "wb") as file:  # noqa: PTH123
            file.write(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("anytag.checkpoints.clip.save_file", break_off)
    with pytest.raises(OSError, match="No space left"):
        write_clip_text(clip, tmp_path)
    assert (tmp_path / "clip_text.safetensors").read_bytes() == before
    assert not list(tmp_path.glob("*.part"))
    assert ClipTextEncoder.load(tmp_path, clip.config).embed(["owl"]).shape == (1, 10)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s: s.pop("text_projection.weight"), "a CLIP text model without its projection"),
        (lambda s: s.pop("text_model.final_layer_norm.bias"), r"the weight norm\.bias is missing"),
        (lambda s: s.update({"text_model.pooler.weight": torch.ones(2)}), r"text_model\.pooler\.weight is unknown"),
        (
            lambda s: s.update({"text_model.encoder.layers.0.mlp.fc3.bias": torch.ones(2)}),
            r"layers\.0\.mlp\.fc3\.bias is unknown",
        ),
        (lambda s: s["text_projection.weight"].fill_(float("nan")), r"text_projection\.weight holds values that are"),
        (
            lambda s: s.update({"text_projection.weight": torch.ones(10, 16, dtype=torch.int8)}),
            r"text_projection\.weight is of type torch\.int8",
        ),
        (
            lambda s: s.update({"text_projection.weight": torch.ones(10, 15)}),
            r"projection\.weight has the shape \(10, 15\) instead of \(10, 16\)",
        ),
    ],
)
def test_weights_that_do_not_fit_are_named(copy, change, message):
    change_weights(copy, change)
    with pytest.raises(ModelError, match=message):
        read_clip_text(copy)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"model_type": "siglip"}, "model_type is 'siglip', not a CLIP model's"),
        ({"hidden_act": "relu"}, "hidden_act is 'relu': Input should be 'quick_gelu' or 'gelu'"),
        ({"num_attention_heads": 0}, "num_attention_heads is 0"),
        ({"num_attention_heads": 3}, "width 16 does not divide into 3 heads"),
        ({"eos_token_id": 7}, "the tokenizer is not the model's: a text should end in id 7"),
        ({"vocab_size": 100}, "the tokenizer is not the model's"),
        ({"hidden_size": 20}, "has the shape"),
    ],
)
def test_configs_that_do_not_fit_are_explained(copy, values, message):
    change_config(copy, **values)
    with pytest.raises(ModelError, match=message):
        read_clip_text(copy)


def test_damaged_and_missing_files_are_named(copy):
    weights = copy / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])
    with pytest.raises(ModelError, match=r"model\.safetensors: missing, damaged or cut short"):
        read_clip_text(copy)
    weights.unlink()
    with pytest.raises(ModelError, match=r"there is neither model\.safetensors nor pytorch_model\.bin"):
        read_clip_text(copy)
    (copy / "vocab.json").write_text("{")
    with pytest.raises(ModelError, match="the tokenizer cannot be read"):
        read_clip_text(copy)
    (copy / "vocab.json").write_text('{"a": 0}')
    (copy / "merges.txt").write_text("#version: 0.2\n")
    with pytest.raises(ModelError, match=r"there is no <\|startoftext\|>"):
        read_clip_text(copy)
    (copy / "merges.txt").unlink()
    with pytest.raises(ModelError, match=r"there is neither tokenizer\.json nor vocab\.json with merges\.txt"):
        read_clip_text(copy)
    (copy / "config.json").write_text("[]")
    with pytest.raises(ModelError, match=r"config\.json: not a JSON object"):
        read_clip_text(copy)
    (copy / "config.json").write_text("{")
    with pytest.raises(ModelError, match=r"config\.json: cannot be read \(not JSON: Expecting"):
        read_clip_text(copy)
    with pytest.raises(ModelError, match=r"config\.json: missing; give a directory as transformers saves it"):
        read_clip_text(copy / "none")


class Evil:
    def __reduce__(self):
        return (print, ("owned",))


def test_a_pickle_with_code_in_it_is_refused_and_not_run(copy, capfd):
    (copy / "model.safetensors").unlink()
    for content in (pickle.dumps({"a": Evil()}, protocol=2), b"", b"PK\x03\x04 cut short"):
        (copy / "pytorch_model.bin").write_bytes(content)
        with pytest.raises(ModelError, match=r"pytorch_model\.bin: missing, damaged or cut short, or holds more than"):
            read_clip_text(copy)
    torch.save([1, 2], copy / "pytorch_model.bin")
    with pytest.raises(ModelError, match=r"pytorch_model\.bin: not a state dict"):
        read_clip_text(copy)
    assert "owned" not in capfd.readouterr().out


def test_only_clips_names_are_renamed(tmp_path):
    tokenizer_files(tmp_path)
    assert rename("text_model.encoder.layers.11.self_attn.out_proj.bias") == "layers.11.attention_output.bias"
    for name in ("encoder.layers.0.mlp.fc1.weight", "text_model.embeddings.token_embedding", "weight", ""):
        with pytest.raises(ModelError, match="is unknown; this is not a CLIP text encoder as transformers saves it"):
            rename(name)
