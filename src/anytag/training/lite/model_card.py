"""The model card of a training run."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

from anytag.model.vocabulary import TagVocabulary
from anytag.training.lite.config import TrainingConfig


def model_card(
    config: TrainingConfig,
    vocabulary: TagVocabulary,
    pictures: int,
    captions: int,
    texts: int,
    figures: Mapping[str, float],
) -> str:
    """A README for the model directory: what it is, what it saw, how good it is, what it cannot do.

    Args:
        config: The resolved recipe.
        vocabulary: With support as trained.
        pictures: Training pictures.
        captions: Their captions.
        texts: Captions without pictures.
        figures: Last validation figures, by name.
    """
    kinds = Counter(tag.kind for tag in vocabulary)
    trained = [tag for tag in vocabulary if tag.support > 0]
    frequent = sum(tag.support >= 8 for tag in vocabulary)
    names = {
        "map": f"mean average precision over {len(config.data.categories)} human categories",
        "f1_coco": "micro-F1 against one caption's tags, best single threshold",
        "f1_flickr": "micro-F1 against five captions' tags, best single threshold",
        "cider": "CIDEr-D, greedy, guided by the tags found",
    }
    rows = "\n".join(f"| {names.get(name, name)} | {value:.3f} |" for name, value in figures.items())
    by_kind = ", ".join(f"{count:,} {kind}s" for kind, count in kinds.most_common())
    return f"""# {config.name}

An image tagger and captioner trained by anytag's recipe `{config.name}` (seed {config.seed}).

## Parts
- Image encoder: {config.model.image_encoder.name} at {config.model.image_encoder.resolution} px, ImageNet weights
  (Apache-2.0); its upper stages were trained further, its classifier stayed.
- Label queries: {config.model.labels.encoder} text embeddings (Apache-2.0), projected.
- Recognition decoder: {config.model.recognition.layers} layers without self-attention, width {config.model.width}.
- Captioner: interaction encoder that shares those layers, and a text decoder.

## Vocabulary
{len(vocabulary):,} tags ({by_kind}); {len(trained):,} were true of at least one training picture, {frequent:,} of at
least eight. `vocabulary.json` states the support of each. Tags without support come from the image encoder's ImageNet
classifier or from their text alone.

## Training data
{pictures:,} pictures with {captions:,} human captions, and {texts:,} captions without pictures. Shards:
{", ".join(f"`{pattern}`" for pattern in config.data.train)}; texts:
{", ".join(f"`{pattern}`" for pattern in config.data.texts) or "none"}. Held out:
{", ".join(f"`{pattern}`" for pattern in config.data.validation)}. Tags were parsed from the captions; no human label
of the pictures was used. Where the ImageNet classifier was surer than {config.data.teacher_threshold:g}, its class is
a tag, too.

## Validation
| figure | value |
|---|---|
{rows}

## Limits
- It has seen few pictures, mostly everyday scenes with people, animals and vehicles. Things that captions seldom
  name are found rarely; colours, materials and counts are unreliable.
- It reflects what annotators chose to write, including how they describe people. Do not use it to decide anything
  about a person.
- Captions can state what is not there. Compare scores with the thresholds; they are not probabilities.
"""
