"""Runs of the official families that take a minute or two on two cores, to check that everything works.

    anytag train recipes/small.py:tag2text --data data --run runs/small-tag2text
    anytag train recipes/small.py:ram --data data --run runs/small-ram
    anytag train recipes/small.py:ram_plus --data data --run runs/small-ram-plus

DATA contains WebDataset shards ``coco20k/*.tar``. The models are tiny, the pictures have 64 px, and the texts are
embedded by the sentence encoder of the ``lite`` models (extra ``lite-sources``), because CLIP would have to be
downloaded. To use CLIP as a teacher, set the feature width to that of its embeddings; RAM++ compares descriptions with
features, so it embeds its texts with CLIP, too:

    --set teacher.clip=PATH --set objective.distillation=1 --set model.feature_width=512
    … --set teacher.texts=null --set model.labels.width=512        for ram_plus

The trained models are too small to be useful.
"""

from anytag.model.config import (
    CaptionerConfig,
    ImageEncoderConfig,
    LabelQueryConfig,
    ModelConfig,
    RecognitionConfig,
    SwinConfig,
)
from anytag.model.families import tag2text as official_tag2text
from anytag.nn.momentum import MomentumConfig
from anytag.pictures import CLIP
from anytag.training.recipes.config import (
    SENTENCE_ENCODER,
    RamConfig,
    RamPlusConfig,
    Tag2TextConfig,
    TeacherConfig,
    TrainingConfig,
    TrainingStage,
    VocabularyConfig,
)

#: Side of the pictures, width of tokens, width of the sentence encoder's embeddings.
SIDE, WIDTH, TEXTS = 64, 192, 384


def _encoder(projected: bool) -> ImageEncoderConfig:
    mean, std = CLIP.of_bytes()
    return ImageEncoderConfig(
        name="swin",
        swin=SwinConfig(width=48, depths=(1, 1, 2), heads=(2, 4, 8), window=4, drop_path=0.0),
        projection="linear" if projected else "none",
        resolution=SIDE,
        width=WIDTH,
        tokens=(SIDE // 16) ** 2 + 1,
        classes=0,
        mean=mean,
        std=std,
    )


def _captioner() -> CaptionerConfig:
    original = official_tag2text().captioner
    assert original is not None
    sizes = {"layers": 2, "interaction_layers": 2, "heads": 4, "inner": 512, "positions": 64}
    return original.model_copy(update=sizes)


def _run(name: str, model: ModelConfig, **changes: object) -> TrainingConfig:
    settings = {
        "name": name,
        "model": model,
        "sources": ("coco20k/coco20k-000000.tar", "coco20k/coco20k-000001.tar"),
        "validation": ("coco20k/coco20k-000019.tar",),
        "validation_pictures": 200,
        "vocabulary": VocabularyConfig(min_support=20),
        "stages": (TrainingStage(name="all", epochs=2, learning_rate=1e-3, encoder_learning_rate=1e-3, warmup=20),),
        "batch_size": 32,
        "precision": "float32",
        "ema_decay": 0.0,
        "log_every": 10,
        "validate_every": 60,
        "save_every": 30,
    }
    return TrainingConfig.model_validate(settings | changes)


def tag2text() -> TrainingConfig:
    """Tagging, captions, contrast and matching."""
    model = ModelConfig(
        family="tag2text",
        width=128,
        feature_width=WIDTH,
        image_encoder=_encoder(projected=False),
        recognition=RecognitionConfig(layers=2, heads=4, inner=512, score="per_tag"),
        labels=LabelQueryConfig(kind="learned", encoder="", width=128, offsets=False),
        captioner=_captioner(),
    )
    # A queue of BLIP's size would hold every caption of this little data many times over.
    return _run("small-tag2text", model, objective=Tag2TextConfig(), momentum=MomentumConfig(queue=512), tags="caption")


def ram() -> TrainingConfig:
    """Tagging with text embeddings, captions; distillation if there is a teacher."""
    model = ModelConfig(
        family="ram",
        width=128,
        feature_width=TEXTS,
        image_encoder=_encoder(projected=True),
        recognition=RecognitionConfig(layers=2, heads=4, inner=512),
        labels=LabelQueryConfig(kind="embedded", encoder=SENTENCE_ENCODER, width=TEXTS, offsets=False),
        captioner=_captioner(),
    )
    teacher = TeacherConfig(texts=SENTENCE_ENCODER)
    return _run("small-ram", model, objective=RamConfig(distillation=0.0), teacher=teacher)


def ram_plus() -> TrainingConfig:
    """Tagging with weighted descriptions, alignment of whole captions; distillation if there is a teacher."""
    model = ModelConfig(
        family="ram_plus",
        width=128,
        feature_width=TEXTS,
        image_encoder=_encoder(projected=True),
        recognition=RecognitionConfig(layers=2, heads=4, inner=512),
        labels=LabelQueryConfig(kind="described", encoder=SENTENCE_ENCODER, width=TEXTS, offsets=False, descriptions=5),
        captioner=None,
    )
    teacher = TeacherConfig(texts=SENTENCE_ENCODER)
    return _run("small-ram-plus", model, objective=RamPlusConfig(distillation=0.0), teacher=teacher)


recipe = tag2text
