"""Write the model directory of a training run."""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

from anytag.checkpoints.clip import write_clip_text
from anytag.datasets.sources import SampleSource
from anytag.foundations.wording import counted
from anytag.model.config import ModelConfig
from anytag.model.directory import CURVES_FILE, new_model, write_config
from anytag.model.vocabulary import TagVocabulary
from anytag.nn.alignment import AlignmentEncoder
from anytag.nn.model import RecognitionModel
from anytag.nn.weights import WEIGHTS_FILE, write_alignment, write_weights
from anytag.training.families.data_sources import RunData
from anytag.training.families.initialization import LABELS_FILE, InitialModel
from anytag.training.recipes.config import LiteConfig, TrainingConfig


def write_model(
    folder: Path,
    model: RecognitionModel,
    start: InitialModel,
    card: str,
    threshold: float | None = None,
    encoder: AlignmentEncoder | None = None,
    pictures: int | None = None,
    curves: Path | None = None,
) -> ModelConfig:
    """Write or replace the model directory, whole or not at all.

    Tags have no thresholds of their own; ``anytag calibrate`` fits them. ``threshold`` replaces the config's default.
    The alignment encoder has a file of its own; ``curves`` is an SVG for the model card.
    """
    with new_model(folder) as part:
        persistent = model.state_dict().keys()
        buffers = ((name, buffer) for name, buffer in model.named_buffers() if name in persistent)
        # Label queries that were bound to text embeddings for training have other names.
        weights = {
            name.replace("label_queries.queries.", "label_queries."): tensor.detach().cpu()
            for name, tensor in (*model.named_parameters(), *buffers)
        }
        write_weights(weights, part / WEIGHTS_FILE)
        start.vocabulary.save(part / "vocabulary.json")
        if start.directory is not None:
            start.directory.copy(start.files, part)
        for tokenizer in (start.tokenizer, start.caption_tokenizer):
            if tokenizer is not None:
                tokenizer.save(part / "tokenizer.json")
        if start.clip is not None:
            write_clip_text(start.clip, part)
        if start.label_embeddings is not None:
            from safetensors.torch import save_file

            save_file({"text_embeddings": start.label_embeddings.contiguous()}, part / LABELS_FILE)
        if encoder is not None:
            write_alignment(encoder, model, part)
        if curves is not None and curves.is_file():
            shutil.copyfile(curves, part / CURVES_FILE)
            card += f"\n![Losses and validation]({CURVES_FILE})\n"
        (part / "README.md").write_text(card, encoding="utf-8")
        names = sorted(path.name for path in part.iterdir())
        # Training shifts scores, so that calibration and evidence fitted on them no longer apply.
        changes: dict[str, object] = {"score_slope": 1.0, "open_shift": 0.0, "evidence": None}
        if threshold is not None:
            changes["default_threshold"] = threshold
        if pictures is not None and start.directory is None:
            changes["training_pictures"] = pictures
        return write_config(part, start.config.model_copy(update=changes), names)


def model_card(
    config: TrainingConfig,
    start: InitialModel,
    run_data: RunData,
    figures: Mapping[str, float],
    step: int,
    pictures: int,
    lost: Sequence[str] = (),
    distinct: str = "",
) -> str:
    """Write the model card: parts, vocabulary, training data, validation and limits.

    ``figures`` are the last validation metrics, ``lost`` and ``distinct`` sentences about problems of the data and the
    number of distinct pictures.
    """
    sizes, vocabulary, encoder = start.config, start.vocabulary, start.config.image_encoder
    kinds = Counter(tag.kind for tag in vocabulary)
    by_kind = ", ".join(counted(count, kind) for kind, count in kinds.most_common())
    new = sum(origin is None for origin in start.origins)
    began = (
        "random weights and public ones" if start.directory is None else f"the model `{start.directory.config.name}`"
    )
    tags = "" if start.directory is None else f", {new:,} of them new to it"
    captions = "writes captions" if sizes.captioner is not None else "writes no captions"
    width = f"Recognition decoder: {sizes.recognition.layers} layers of width {sizes.width}."
    labels = f"{sizes.labels.kind}" + (f" ({sizes.labels.encoder})" if sizes.labels.encoder else "")
    rows = "\n".join(f"| {_FIGURES.get(name, name)} | {value:.4g} |" for name, value in sorted(figures.items()))
    table = f"| figure | value |\n|---|---|\n{rows}" if rows else "Nothing was measured: there were no validation data."
    threshold = (
        f"The best common threshold on these pictures, {figures['threshold']:.3f}, is used for every tag."
        if "threshold" in figures
        else "No threshold was fitted; every tag uses the one in `config.json`. `anytag calibrate` fits thresholds."
    )
    texts = f"\n\n{len(run_data.texts):,} captions without pictures." if run_data.texts else ""
    classifier = ""
    if isinstance(config.objective, LiteConfig):
        limit = config.teacher.classifier_threshold
        classifier = f" If the ImageNet classifier was surer than {limit:g}, its class is a tag, too."
    unused = "".join(f"\n- {line}" for line in lost)
    unused = f"\n\nProblems found in the data:\n{unused}" if unused else ""
    return f"""# {config.name}

An image tagger of the {sizes.family} family, trained by anytag's recipe `{config.name}` (seed {config.seed}).

## Parts
- Image encoder: {encoder.name} at {encoder.resolution} px. Label queries: {labels}.
- {width}
- It {captions}.
- It started from {began} and was trained for {step:,} steps of {config.batch_size} pictures
  with `{type(config.objective).__name__}`.

## Vocabulary
{len(vocabulary):,} tags ({by_kind}){tags}.{_support(vocabulary)}

## Training data
{pictures:,} pictures per epoch{_drawn(step, config, pictures)}. {distinct}

{_listed(run_data.sources)}{texts}

Tags of captions come from the parser `{config.parser}`.{classifier} Held out for validation:

{_listed(run_data.validation)}{unused}

## Validation
{table}

{threshold}

## Limits
- It knows what its training data name; it seldom finds what captions seldom name. It reflects what their writers
  chose to write, including how they describe people; do not use it to decide anything about a person.
- Captions can name things that are not there. Compare scores with thresholds; they are not probabilities.
"""


#: Descriptions of validation metrics.
_FIGURES = {
    "map": "mean average precision over tags",
    "label_map": "mean average precision over human labels",
    "f1": "micro-F1 of tags, best single threshold",
    "cider": "CIDEr-D, greedy, guided by the tags found",
}


def _support(vocabulary: TagVocabulary) -> str:
    trained = [tag for tag in vocabulary if tag.support]
    if not trained:
        return ""
    frequent = sum((tag.support or 0) >= 8 for tag in trained)
    return (
        f" {len(trained):,} were true of at least one training picture, {frequent:,} of at least eight;\n"
        "`vocabulary.json` has the count for each."
    )


def _drawn(step: int, config: TrainingConfig, pictures: int) -> str:
    """How often each picture was seen; in less than an epoch, how many were."""
    drawn = step * config.batch_size
    return f", each seen {drawn / pictures:.3g} times" if drawn >= pictures else f", {drawn:,} of them seen"


def _listed(sources: Sequence[SampleSource]) -> str:
    return "\n".join(f"- {source.identity}" for source in sources) or "- none"
