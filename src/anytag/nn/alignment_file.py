"""An alignment encoder on disk: a file of its own beside the model whose text decoder it shares."""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from anytag.errors import ModelError
from anytag.model.directory import ALIGNMENT_FILE
from anytag.nn.alignment import AlignmentEncoder
from anytag.nn.model import RecognitionModel
from anytag.nn.weights import write_weights


def write_alignment(encoder: AlignmentEncoder, model: RecognitionModel, folder: Path) -> str:
    """Write what the encoder does not share with the model; the file's name."""
    write_weights(_own(encoder, model), folder / ALIGNMENT_FILE)
    return ALIGNMENT_FILE


def read_alignment(path: Path, model: RecognitionModel, match_id: int = 30523) -> AlignmentEncoder:
    """The alignment encoder of a model, from :func:`write_alignment`'s file.

    Args:
        path: The file.
        model: The model that it was written beside, or one trained on from it.
        match_id: Id of ``[ENC]``.

    Raises:
        ModelError: If the file cannot be read, or is of another model.
    """
    try:
        state = load_file(path)
    except (SafetensorError, OSError) as error:
        raise ModelError(f"{path}: truncated, altered or missing ({error})") from None
    projection = state.get("text_projection.weight")
    if projection is None:
        raise ModelError(f"{path}: holds no alignment encoder")
    encoder = AlignmentEncoder(model.text_decoder, model.config.features, len(projection), match_id)
    own = _own(encoder, model)
    for name in own.keys() | state.keys():
        if name not in own or name not in state or own[name].shape != state[name].shape:
            raise ModelError(f"{path}: {name} is missing, unexpected or of another size; it belongs to another model")
    with torch.no_grad():
        for name, parameter in own.items():
            parameter.copy_(state[name])
    return encoder


def _own(encoder: AlignmentEncoder, model: RecognitionModel) -> dict[str, Tensor]:
    shared = {id(parameter) for parameter in model.parameters()}
    return {name: parameter for name, parameter in encoder.named_parameters() if id(parameter) not in shared}
