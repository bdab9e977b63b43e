"""The models of the reference's vectors: settings, weights, inputs and what came out. They need PyTorch."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import outside
from safetensors.torch import load_file
from torch import Tensor

from anytag.checkpoints.convert import convert_checkpoint
from anytag.checkpoints.official_keys import Geometry, official_config
from anytag.inference.decoding_options import DecodingOptions
from anytag.language.tokenizers.bert_tokenizer import OfficialTokenizer, build_official_tokenizer
from anytag.language.tokenizers.wordpieces import bert_wordpieces
from anytag.model.config import ModelConfig

#: Word embeddings are stored as whole numbers of this.
INT8_UNIT = 1 / 64


@dataclass(frozen=True)
class OracleSet:
    """One model: a folder with ``config.json``, ``weights.safetensors``, ``io.safetensors`` and ``expected.json``."""

    folder: Path

    @property
    def name(self) -> str:
        return self.folder.name

    @property
    def kind(self) -> str:
        """``tag2text``, ``ram`` or ``ram_plus``."""
        return str(self.config["kind"])

    @cached_property
    def config(self) -> dict[str, Any]:
        return json.loads((self.folder / "config.json").read_text(encoding="utf-8"))

    @cached_property
    def expected(self) -> dict[str, Any]:
        return json.loads((self.folder / "expected.json").read_text(encoding="utf-8"))

    @cached_property
    def io(self) -> dict[str, Tensor]:
        """Inputs and outputs; half precision, which holds exact inputs, is widened."""
        tensors = load_file(self.folder / "io.safetensors")
        return {name: tensor.float() if tensor.is_floating_point() else tensor for name, tensor in tensors.items()}

    @cached_property
    def weights(self) -> dict[str, Tensor]:
        """Every parameter under every official name, in float32; tied names share one tensor."""
        stored = load_file(self.folder / "weights.safetensors")
        state = {
            name: tensor.float() * INT8_UNIT if tensor.dtype == torch.int8 else tensor.float()
            for name, tensor in stored.items()
        }
        for alias, target in self.config["state"]["aliases"].items():
            state[alias] = state[target]
        return state

    @cached_property
    def buffers(self) -> dict[str, Tensor]:
        """Index tables and masks of the official state dict; empty where they were too large to store."""
        path = self.folder / "buffers.safetensors"
        return load_file(path) if path.exists() else {}

    @property
    def state(self) -> dict[str, Tensor]:
        """The official state dict: weights, then such buffers as are stored."""
        return {**self.weights, **self.buffers}

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Shapes of the official state dict, index tables and masks included."""
        return {name: tuple(shape) for name, shape in self.config["state"]["keys"].items()}

    @property
    def geometry(self) -> Geometry:
        """What those shapes do not tell."""
        given, text = self.config, self.config["med_config"]
        return Geometry(
            image_size=given["image_size"],
            recognition_heads=given["q2l_config"]["num_attention_heads"],
            text_heads=text["num_attention_heads"] if text else None,
            prompt=given.get("prompt", Geometry.prompt),
        )

    @property
    def model_config(self) -> ModelConfig:
        """This project's config of the model."""
        return official_config(self.kind, self.shapes, self.name, self.config["num_tags"], self.geometry)

    @property
    def tokenizer(self) -> OfficialTokenizer:
        """BERT's word pieces, and the set's own prompt."""
        return build_official_tokenizer(bert_wordpieces(), self.geometry.prompt)

    def weights_of(self, part: str) -> dict[str, Tensor]:
        """The weights of one part (``visual_encoder``, ``tagging_head``, ...), without its prefix."""
        start = len(part) + 1
        return {name[start:]: tensor for name, tensor in self.weights.items() if name.startswith(part + ".")}


def convert_oracle(oracle_set: OracleSet, folder: Path, out: Path) -> None:
    """Write a set's weights as they are published, and convert them."""
    torch.save({"model": oracle_set.weights}, folder / "official.pth")
    (folder / "tags.txt").write_text("\n".join(oracle_set.config["tag_list"]), encoding="utf-8")
    convert_checkpoint(
        folder / "official.pth",
        out,
        family=oracle_set.kind,
        tags=folder / "tags.txt",
        geometry=oracle_set.geometry,
        report=lambda line: None,
    )


def asked_decoding(case: dict[str, Any]) -> DecodingOptions:
    """How the captions of a case were searched for."""
    names = ("num_beams", "max_length", "min_length", "repetition_penalty")
    return DecodingOptions(**{name: case["generate_kwargs"][name] for name in names})


def written_ids(case: dict[str, Any]) -> list[list[int]]:
    """The captions of a case, without what pads them."""
    return [[id for id in row if id != case["generate_kwargs"]["pad_token_id"]] for row in case["output_ids"]]


def oracle_sets(folder: Path) -> list[OracleSet]:
    """Every model found anywhere below the oracle's folder, whatever its name and sizes; none if that is absent."""
    return [OracleSet(path.parent) for path in sorted(folder.rglob("weights.safetensors"))]


FOUND = oracle_sets(outside("ANYTAG_ORACLE", "oracle"))


def each_oracle_set(*kinds: str) -> pytest.MarkDecorator:
    """Run a test for every set found (of these kinds, if any are named), as its argument ``oracle_set``.

    Without sets the test is skipped or, where ``CI`` is set, fails: see the fixture in ``conftest.py``.
    """
    chosen = [found for found in FOUND if not kinds or found.kind in kinds]
    cases = [pytest.param(found, id=found.name) for found in chosen] or [pytest.param(None, id="none")]
    return pytest.mark.parametrize("oracle_set", cases, indirect=True)


def near_norm(name: str, norm: float) -> Any:
    """A parameter's gradient norm as the reference found it, to compare with.

    A key's bias has no gradient, as softmax forgets it: what is there is rounding, other on other processors.
    """
    return pytest.approx(norm, rel=1e-3, abs=1e-5 if name.endswith("key.bias") else 1e-6)
