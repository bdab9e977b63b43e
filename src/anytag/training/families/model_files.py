"""The model directory that a pre-training or fine-tuning run leaves behind."""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

from torch import Tensor

from anytag.checkpoints.clip import write_clip_text
from anytag.datasets.sources import SampleSource
from anytag.model.config import ModelConfig
from anytag.model.directory import new_model, write_config
from anytag.nn.alignment import AlignmentEncoder
from anytag.nn.alignment_file import write_alignment
from anytag.nn.model import RecognitionModel
from anytag.nn.weights import WEIGHTS_FILE, write_weights
from anytag.training.families.initialization import LABELS_FILE, Start
from anytag.training.families.pretraining_config import PretrainingConfig


def write_model(
    folder: Path,
    model: RecognitionModel,
    start: Start,
    card: str,
    threshold: float | None = None,
    encoder: AlignmentEncoder | None = None,
    pictures: int | None = None,
) -> ModelConfig:
    """Write the model directory, whole or not at all; one that is there is replaced.

    No tag has a threshold of its own: ``anytag calibrate`` fits them.

    Args:
        folder: Where it is to be.
        model: As trained.
        start: What the run began with.
        card: The model card.
        threshold: Score from which on a tag counts as found; ``None``: that of the config.
        encoder: Goes into a file of its own.
        pictures: Training pictures, if that is known.
    """
    with new_model(folder) as part:
        config, names = start.config, []
        weights: dict[str, Tensor] = {_unbound(name): tensor for name, tensor in model.named_parameters()}
        weights |= {_unbound(name): tensor for name, tensor in _kept_buffers(model).items()}
        write_weights({name: tensor.detach().cpu() for name, tensor in weights.items()}, part / WEIGHTS_FILE)
        start.vocabulary.save(part / "vocabulary.json")
        if start.directory is not None:
            for name in start.files:
                shutil.copyfile(start.directory.file(name), part / name)
        if start.tokenizer is not None:
            start.tokenizer.save(part / "tokenizer.json")
        if start.clip is not None:
            write_clip_text(start.clip, part)
        if start.label_embeddings is not None:
            from safetensors.torch import save_file

            save_file({"text_embeddings": start.label_embeddings.contiguous()}, part / LABELS_FILE)
        if encoder is not None:
            write_alignment(encoder, model, part)
        (part / "README.md").write_text(card, encoding="utf-8")
        names = sorted(path.name for path in part.iterdir())
        # Training moves scores, and what was fitted on them is true no longer.
        changes: dict[str, object] = {"score_slope": 1.0, "open_shift": 0.0, "evidence": None}
        if threshold is not None:
            changes["default_threshold"] = threshold
        if pictures is not None and start.directory is None:
            changes["training_pictures"] = pictures
        written = write_config(part, config.model_copy(update=changes), names)
    return written


def _unbound(name: str) -> str:
    """The name in a model whose label queries were bound to their texts for training."""
    return name.replace("label_queries.queries.", "label_queries.")


def _kept_buffers(model: RecognitionModel) -> dict[str, Tensor]:
    kept = model.state_dict().keys()
    return {name: buffer for name, buffer in model.named_buffers() if name in kept}


def pretraining_card(
    config: PretrainingConfig,
    start: Start,
    sources: Sequence[SampleSource],
    validation: Sequence[SampleSource],
    figures: Mapping[str, float],
    step: int,
) -> str:
    """A README for the model directory: what it is, what it saw, how good it is, what it cannot do.

    Args:
        config: The recipe.
        start: What the run began with.
        sources: Training data.
        validation: Data never trained on.
        figures: Last validation figures, by name.
        step: Steps trained.
    """
    kinds = Counter(tag.kind for tag in start.vocabulary)
    by_kind = ", ".join(f"{count:,} {kind}s" for kind, count in kinds.most_common())
    new = sum(origin is None for origin in start.origins)
    began = (
        "random weights and public ones" if start.directory is None else f"the model `{start.directory.config.name}`"
    )
    tags = "" if start.directory is None else f", {new:,} of them new to it"
    encoder = start.config.image_encoder
    captions = "writes captions" if start.config.captioner is not None else "writes no captions"
    rows = "\n".join(f"| {name} | {value:.4g} |" for name, value in sorted(figures.items()))
    table = f"| figure | value |\n|---|---|\n{rows}" if rows else "No validation data were given, so nothing is known."
    threshold = (
        f"The best common threshold on these pictures, {figures['threshold']:.3f}, stands for every tag."
        if "threshold" in figures
        else "No threshold was fitted; that of the config stands for every tag. `anytag calibrate` fits them."
    )
    return f"""# {config.name}

An image tagger of the {start.config.family} family, trained by anytag's recipe `{config.name}` (seed {config.seed}).

## Parts
- Image encoder: {encoder.name} at {encoder.resolution} px. Label queries: {start.config.labels.kind}.
- It {captions}.
- It began with {began}, and learnt for {step:,} steps of {config.batch_size} by `{type(config.objective).__name__}`.

## Vocabulary
{len(start.vocabulary):,} tags ({by_kind}){tags}.

## Training data
{_listed(sources)}

Captions without given tags were read by the parser `{config.parser}`. Not trained on:

{_listed(validation)}

## Validation
{table}

{threshold}

## Limits
- It knows what its training data named. It reflects what their writers chose to write, including how they describe
  people; do not use it to decide anything about a person.
- Compare scores with the thresholds; they are not probabilities.
"""


def _listed(sources: Sequence[SampleSource]) -> str:
    return "\n".join(f"- {source.identity}" for source in sources) or "- none"
