"""Teach a model your own tags, from a few pictures of each.

    anytag train recipes/finetune_tags.py --data photos --run runs/mine
    anytag train recipes/finetune_tags.py --data photos --run runs/mine --set start=runs/ram/model

DATA is a folder with a subfolder for each tag, or a folder of pictures with captions or tags beside them (``dog.jpg``
and ``dog.json`` with ``{"tags": […]}``). For other sources, such as a table or JSON lines:

    … --set 'sources=["photos.csv"]' --set 'validation=["held-out.jsonl"]'
    … --set 'sources=[{"path": "photos", "text": "tags"}]'     comma-separated tags in .txt files

``recipe`` does what ``anytag teach`` does: it takes seconds, changes no existing tag, and separates each new tag from
other people's pictures.

``network`` trains the network itself with the tagging loss, for thousands of pictures or if all of the model may
change. It starts from the shipped model or any directory with PyTorch weights: an official model (``anytag pull``,
``anytag convert``) or the ``model/`` of a run. Tags are matched by name: existing ones keep their weights, new ones
start from the embedding of their text (randomly for Tag2Text, whose queries are learned). ``vocabulary.change=replace``
removes tags that are not in your data, and ``keep`` adds no new ones. RAM and RAM++ embed new tags with CLIP:
``anytag pull --clip`` and ``anytag convert --clip`` put it into the model's folder, or use ``--set teacher.clip=PATH``.
Training removes all thresholds; ``anytag calibrate`` fits new ones.

Pictures without known tags are not used; if a picture has tags, all others count as absent.
"""

from anytag.teaching.config import TeachingConfig
from anytag.training.recipes.config import (
    AugmentationConfig,
    RamPlusConfig,
    TrainingConfig,
    TrainingStage,
    VocabularyConfig,
)


def recipe() -> TeachingConfig:
    """Fit a linear classifier for each tag on image features; nothing else changes."""
    return TeachingConfig(sources=(".",))


def network() -> TrainingConfig:
    """Train tagging only: first the tag head, then everything, with a tenth of the rate for the image encoder."""
    return TrainingConfig(
        name="own-tags",
        start="lite",
        sources=({"path": ".", "classes": None},),
        vocabulary=VocabularyConfig(change="add", read="tags"),
        tags="given",
        parser="none",
        # The tagging part of any of the objectives; alignment and distillation would need more than tags.
        objective=RamPlusConfig(alignment=0.0, distillation=0.0),
        # Small crops (the official settings have them) often miss the tagged thing, which matters with few pictures.
        augmentation=AugmentationConfig(crop=(0.5, 1.0)),
        views=2,
        stages=(
            TrainingStage(
                name="head",
                epochs=10,
                learning_rate=3e-4,
                warmup=10,
                only=("label_queries.", "recognition_decoder."),
                # Run the image encoder twice per picture instead of once per epoch, for 0.3 MB each on the disk.
                cached="tokens",
            ),
            TrainingStage(name="all", epochs=20, learning_rate=1e-4, encoder_learning_rate=1e-5, warmup=10),
        ),
        batch_size=16,
        ema_decay=0.99,
        log_every=5,
        save_every=50,
        validate_every=50,
    )
