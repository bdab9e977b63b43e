"""Teach a model your own tags, with your own pictures; a few of each are enough.

    anytag train recipes/finetune_tags.py --data photos --run runs/mine
    anytag train recipes/finetune_tags.py --data photos --run runs/mine --set start=runs/ram/model

DATA is a folder with a folder for each tag, or a folder of pictures with captions or tags beside them (``dog.jpg`` and
``dog.json`` with ``{"tags": […]}``). Anything else that holds tags, such as a table or JSON lines:

    … --set 'sources=["photos.csv"]' --set 'validation=["held-out.jsonl"]'
    … --set 'sources=[{"path": "photos", "text": "tags"}]'     tags with commas between them in .txt files

``recipe`` does what ``anytag teach`` does: it takes seconds, changes nothing that the model knows, and tells each tag
from a bank of other people's pictures.

``network`` trains the network itself, with the gradients of the tagging loss: for thousands of pictures, or where all
of the model may change. The model to start from is the one that ships, or any directory with PyTorch weights: a
official one (``anytag pull``, ``anytag convert``), or the ``model/`` of a run. Tags go by name: those that it knows
keep their weights, others begin as their text's embedding (Tag2Text's, whose queries are learned, begin anew). With
``vocabulary.change=replace`` tags that your data do not name disappear; with ``keep`` new ones are not taken in. RAM
and RAM++ embed new tags with CLIP. ``anytag pull --clip`` and ``anytag convert --clip`` put it into the model's folder;
or name it: ``--set teacher.clip=PATH``. All thresholds are gone afterwards; ``anytag calibrate`` fits them.

Pictures whose tags nobody wrote down are left alone; a picture that has tags is taken to show none of the others.
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
    """A line for each tag through what the image encoder sees; nothing else changes."""
    return TeachingConfig(sources=(".",))


def network() -> TrainingConfig:
    """Tags alone are learned: the tag head first, then everything, the image encoder at a tenth of the rate."""
    return TrainingConfig(
        name="own-tags",
        start="lite",
        sources=({"path": ".", "classes": None},),
        vocabulary=VocabularyConfig(change="add", read="tags"),
        tags="given",
        parser="none",
        # The tagging part of any of the objectives; alignment and distillation would need more than tags.
        objective=RamPlusConfig(alignment=0.0, distillation=0.0),
        # Of the official crops, the small ones often miss what a tag is about, and few pictures do not average it out.
        augmentation=AugmentationConfig(crop=(0.5, 1.0)),
        views=2,
        stages=(
            TrainingStage(
                name="head",
                epochs=10,
                learning_rate=3e-4,
                warmup=10,
                only=("label_queries.", "recognition_decoder."),
                # The image encoder is asked twice for each picture, not once an epoch; 0.3 MB each on the disk.
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
