"""A tiny model exported to ONNX, made once a session; it needs PyTorch and onnx."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest


@dataclass
class Exported:
    """The network, its label text encoder, its graphs' specifications, and the model directory made of them."""

    model: object
    encoder: object
    specs: dict
    folder: Path


@pytest.fixture(scope="session")
def exported(tmp_path_factory):
    pytest.importorskip("onnx")
    torch = pytest.importorskip("torch")
    from fixtures_torch import TINY, tiny_model, tiny_tokenizer
    from safetensors.torch import save_file
    from tokenizers import Tokenizer, models, pre_tokenizers

    from anytag.export.graphs import attention_spec, graph_specs
    from anytag.export.onnx import export_graph
    from anytag.model.directory import write_config
    from anytag.model.vocabulary import TagVocabulary, VocabularyTag
    from anytag.nn.text_encoder import SentenceEncoder

    folder = tmp_path_factory.mktemp("exported")
    (folder / "onnx").mkdir()
    model = tiny_model()
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():  # As after training: no two vectors are alike, so that each stands in the graphs.
        for parameter in model.parameters():
            if parameter.dim() == 1:
                parameter += torch.randn(parameter.shape, generator=generator) / 50
    encoder = SentenceEncoder(width=24, layers=1, inner=8, positions=16).eval()
    specs = {spec.name: spec for spec in [*graph_specs(model, encoder), attention_spec(model)]}
    for spec in specs.values():
        export_graph(spec, folder / "onnx" / f"{spec.name}.onnx")
    kinds = ("object", "object", "action", "scene", "attribute")
    names = ("dog", "cat", "run", "grass", "red")
    TagVocabulary(
        VocabularyTag(i, name, kind, support=1, classes=(i,))
        for i, (name, kind) in enumerate(zip(names, kinds, strict=True))
    ).save(folder / "vocabulary.json")
    tokenizer = tiny_tokenizer()
    assert len(tokenizer) <= TINY.captioner.vocabulary
    tokenizer.save(folder / "tokenizer.json")
    labels = Tokenizer(models.WordLevel({"[UNK]": 1, "kart": 3, "go": 4}, unk_token="[UNK]"))
    labels.pre_tokenizer = pre_tokenizers.Whitespace()
    labels.save(str(folder / "label_tokenizer.json"))
    with torch.no_grad():
        texts = torch.nn.functional.normalize(torch.randn(5, 24), dim=-1)
        queries = model.label_queries(texts, torch.arange(5))
        projected = model.recognition_decoder.project(queries)
    save_file({"queries": queries, "projected": projected}, folder / "label_queries.safetensors")
    files = [path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()]
    write_config(folder, TINY, files)
    return Exported(model, encoder, specs, folder)
