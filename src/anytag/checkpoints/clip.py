"""Read CLIP's text encoder from a CLIP directory in ``transformers`` format, without that library.

RAM and RAM++ were trained with the text embeddings of ViT-B/16 (``openai/clip-vit-base-patch16``).
"""

from __future__ import annotations

import pickle
import re
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from pydantic import ValidationError
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors
from torch import Tensor

from anytag.checkpoints.weight_files import read_settings
from anytag.errors import ModelError, first_line
from anytag.foundations.atomic_files import whole_file
from anytag.foundations.settings import first_error
from anytag.foundations.stand_in_files import stand_in
from anytag.model.config import ClipTextConfig
from anytag.nn.clip_text import TOKENIZER, WEIGHTS, ClipTextTransformer, check_state

START_TOKEN, END_TOKEN = "<|startoftext|>", "<|endoftext|>"

#: Weights of a CLIP checkpoint that are not loaded, and why.
_DROPPED = (
    (re.compile(r"vision_model\."), "the image encoder: RAM has its own"),
    (re.compile(r"visual_projection\.weight"), "the image encoder's projection: RAM has its own"),
    (re.compile(r"logit_scale"), "the temperature of CLIP's own comparison"),
    (re.compile(r"text_model\.embeddings\.position_ids"), "a buffer: the numbers 0, 1, 2, …"),
)
_RENAMED = {
    "text_model.embeddings.token_embedding": "words",
    "text_model.embeddings.position_embedding": "positions",
    "text_model.final_layer_norm": "norm",
    "text_projection": "projection",
}
_RENAMED_IN_LAYER = {
    "layer_norm1": "attention_norm",
    "self_attn.q_proj": "query",
    "self_attn.k_proj": "key",
    "self_attn.v_proj": "value",
    "self_attn.out_proj": "attention_output",
    "layer_norm2": "feed_forward_norm",
    "mlp.fc1": "inner",
    "mlp.fc2": "output",
}
_LAYER = re.compile(r"text_model\.encoder\.layers\.(\d+)\.(.+)")

#: Our names of the sizes in ``config.json``; missing ones default to ViT-B/16, as in ``transformers``.
_SIZES = {
    "vocabulary": "vocab_size",
    "positions": "max_position_embeddings",
    "width": "hidden_size",
    "layers": "num_hidden_layers",
    "heads": "num_attention_heads",
    "inner": "intermediate_size",
    "activation": "hidden_act",
    "norm_eps": "layer_norm_eps",
    "end_token": "eos_token_id",
}
#: Old configs have this end token by mistake; the true one is the last of the vocabulary.
_MISTAKEN_END = 2


@dataclass(frozen=True)
class ClipText:
    """CLIP's text encoder.

    Attributes:
        state: State dict of :class:`~anytag.nn.clip_text.ClipTextTransformer`, float32.
        tokenizer: Adds start and end tokens and truncates to ``positions``; without padding.
        dropped: Names of the weights that were not loaded, with the reason.
    """

    config: ClipTextConfig
    state: dict[str, Tensor]
    tokenizer: Tokenizer
    dropped: dict[str, str]


def read_clip_text(folder: str | Path) -> ClipText:
    """Read the text encoder of a CLIP directory (``CLIPModel`` or ``CLIPTextModelWithProjection``).

    Args:
        folder: With ``config.json``, ``model.safetensors`` (whole or sharded) or ``pytorch_model.bin``, and
            ``tokenizer.json`` or ``vocab.json`` and ``merges.txt``.

    Raises:
        ModelError: If something is missing, damaged, not finite, or not of CLIP.
    """
    folder = Path(folder)
    config = _read_config(folder)
    tokenizer = _read_tokenizer(folder, config)
    state: dict[str, Tensor] = {}
    dropped: dict[str, str] = {}
    for file in _weight_files(folder):
        with _open_weights(file) as (names, get):
            for name in names:
                reason = next((why for pattern, why in _DROPPED if pattern.match(name)), None)
                if reason is not None:
                    dropped[name] = reason
                    continue
                tensor = get(name)
                if not tensor.is_floating_point():
                    raise ModelError(f"{file}: the weight {name} is of type {tensor.dtype}, not a floating-point one")
                tensor = tensor.float().clone()
                if not tensor.isfinite().all():
                    raise ModelError(f"{file}: the weight {name} holds values that are not finite; download it again")
                state[rename(name, str(file))] = tensor
    with torch.device("meta"):
        model = ClipTextTransformer(config)
    if "projection.weight" not in state:
        raise ModelError(
            f"{folder}: there is no text_projection.weight, so this is a CLIP text model without its projection; "
            "use the whole CLIP model's directory"
        )
    check_state(model, {name: tuple(tensor.shape) for name, tensor in state.items()}, str(folder))
    return ClipText(config, state, tokenizer, dropped)


def write_clip_text(clip: ClipText, folder: str | Path) -> tuple[str, ...]:
    """Write ``clip_text.safetensors`` and ``label_tokenizer.json`` to a model directory; return their names."""
    folder = Path(folder)
    writers: dict[str, Callable[[str], Any]] = {
        WEIGHTS: lambda path: save_file(clip.state, path, {"format": "pt"}),
        TOKENIZER: lambda path: clip.tokenizer.save(path),
    }
    for name, write in writers.items():
        with whole_file(folder / name) as part:
            write(str(part))
    return tuple(writers)


def rename(name: str, source: str = "checkpoint") -> str:
    """Rename a weight of the text encoder.

    Raises:
        ModelError: If CLIP has no such weight.
    """
    part, _, kind = name.rpartition(".")
    if kind in ("weight", "bias"):
        if part in _RENAMED:
            return f"{_RENAMED[part]}.{kind}"
        if (layer := _LAYER.fullmatch(part)) and layer[2] in _RENAMED_IN_LAYER:
            return f"layers.{layer[1]}.{_RENAMED_IN_LAYER[layer[2]]}.{kind}"
    raise ModelError(
        f"{source}: the weight {name} is unknown; this is not a CLIP text encoder as transformers saves it"
    )


def _read_config(folder: Path) -> ClipTextConfig:
    path = folder / "config.json"
    record = read_settings(path)
    family = record.get("model_type")
    if family == "clip":
        # CLIPModel reads sizes from both, the latter first; the width of the projection is at the top level.
        text = {**(record.get("text_config") or {}), **(record.get("text_config_dict") or {})}
        embedding = record.get("projection_dim")
    elif family == "clip_text_model":
        text, embedding = record, record.get("projection_dim")
    else:
        raise ModelError(f"{path}: model_type is {family!r}, not a CLIP model's ('clip' or 'clip_text_model')")
    sizes = {ours: text[theirs] for ours, theirs in _SIZES.items() if text.get(theirs) is not None}
    if embedding is not None:
        sizes["embedding"] = embedding
    try:
        config = ClipTextConfig.model_validate(sizes)
    except ValidationError as error:
        place, complaint = first_error(error)
        name = str(place[0])
        raise ModelError(f"{path}: {_SIZES.get(name, name)} is {sizes[name]!r}: {complaint}") from None
    if config.end_token == _MISTAKEN_END:
        config = config.model_copy(update={"end_token": config.vocabulary - 1})
    return config


def _weight_files(folder: Path) -> list[Path]:
    for name in ("model.safetensors", "model.safetensors.index.json", "pytorch_model.bin"):
        path = folder / name
        if not path.is_file():
            continue
        if path.suffix != ".json":
            return [path]
        parts = read_settings(path).get("weight_map")
        if not isinstance(parts, dict) or not parts:
            raise ModelError(f"{path}: there is no weight_map; download it again")
        return [folder / Path(str(part)).name for part in sorted(set(parts.values()))]
    raise ModelError(f"{folder}: there is neither model.safetensors nor pytorch_model.bin")


@contextmanager
def _open_weights(path: Path) -> Iterator[tuple[list[str], Callable[[str], Tensor]]]:
    """Yield the names of a file's weights, and a function that loads one of them."""
    damaged = f"{path}: missing, damaged or cut short, or holds more than weights; download it again"
    try:
        if path.suffix == ".bin":
            state = torch.load(path, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(path))
            if not isinstance(state, dict) or not all(isinstance(tensor, Tensor) for tensor in state.values()):
                raise ModelError(f"{path}: not a state dict")
            yield list(state), state.__getitem__
        else:
            with safe_open(path, "pt") as file:
                yield list(file.keys()), file.get_tensor
    except (SafetensorError, pickle.UnpicklingError, EOFError, OSError, RuntimeError) as error:
        instead = stand_in(path)
        raise ModelError(f"{path}: {instead}" if instead else f"{damaged} ({first_line(error)})") from None


def _read_tokenizer(folder: Path, config: ClipTextConfig) -> Tokenizer:
    tokenizer = open_tokenizer(folder, config.positions)
    bare = tokenizer.encode("").ids
    if len(bare) != 2 or bare[1] != config.end_token or tokenizer.get_vocab_size() > config.vocabulary:
        raise ModelError(
            f"{folder}: the tokenizer is not the model's: a text should end in id {config.end_token}, the end token of "
            f"config.json, and ids stay below {config.vocabulary} (an empty text gives {bare}, and there are "
            f"{tokenizer.get_vocab_size()} pieces)"
        )
    return tokenizer


def open_tokenizer(folder: Path, length: int) -> Tokenizer:
    """Load CLIP's tokenizer, with truncation and without padding.

    Args:
        folder: With ``tokenizer.json``, or ``vocab.json`` and ``merges.txt``.

    Raises:
        ModelError: If it is missing or damaged.
    """
    whole, vocabulary, merges = (folder / name for name in ("tokenizer.json", "vocab.json", "merges.txt"))
    if not whole.is_file() and not (vocabulary.is_file() and merges.is_file()):
        raise ModelError(
            f"{folder}: there is neither tokenizer.json nor vocab.json with merges.txt; give a CLIP directory"
        )
    try:
        tokenizer = Tokenizer.from_file(str(whole)) if whole.is_file() else build_tokenizer(vocabulary, merges)
    except Exception as error:  # The library raises nothing more precise.
        raise ModelError(f"{folder}: the tokenizer cannot be read ({error}); download it again") from None
    tokenizer.enable_truncation(length)
    tokenizer.no_padding()
    return tokenizer


def build_tokenizer(vocabulary: Path, merges: Path) -> Tokenizer:
    """Build CLIP's tokenizer: lower case, byte-pair encoding within words, separate digits.

    Args:
        vocabulary: ``vocab.json``, ids by piece.
        merges: ``merges.txt``, pairs in order of merging.
    """
    tokenizer = Tokenizer(
        models.BPE.from_file(
            str(vocabulary),
            str(merges),
            unk_token=END_TOKEN,
            continuing_subword_prefix="",
            end_of_word_suffix="</w>",
        )
    )
    tokenizer.normalizer = normalizers.Sequence(
        [normalizers.NFC(), normalizers.Replace(Regex(r"\s+"), " "), normalizers.Lowercase()]
    )
    words = Regex(r"'s|'t|'re|'ve|'m|'ll|'d|\p{L}+|\p{N}|[^\s\p{L}\p{N}]+")
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(words, behavior="removed", invert=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    start, end = (tokenizer.token_to_id(token) for token in (START_TOKEN, END_TOKEN))
    if start is None or end is None:
        raise ModelError(f"{vocabulary}: there is no {START_TOKEN} or no {END_TOKEN}")
    tokenizer.add_special_tokens([START_TOKEN, END_TOKEN])
    tokenizer.post_processor = processors.RobertaProcessing((END_TOKEN, end), (START_TOKEN, start), False, False)
    return tokenizer
