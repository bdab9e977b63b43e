"""The shipped model.

    anytag train recipes/lite.py --data DATA --run runs/lite

    anytag train recipes/lite.py:further --data DATA --run runs/further      starts from the shipped model

DATA contains WebDataset shards ``coco20k/*.tar`` and ``flickr8k/*.tar`` and caption files ``captions/*.txt.gz``. Human
category labels in the shards are used for validation only.
"""

from anytag.model.config import CaptionerConfig, DecodingConfig, ImageEncoderConfig, ModelConfig, RecognitionConfig
from anytag.training.recipes.config import (
    CAPTIONER,
    SENTENCE_ENCODER,
    LiteConfig,
    TeacherConfig,
    TrainingConfig,
    TrainingStage,
    VocabularyConfig,
)


def recipe() -> TrainingConfig:
    """Train from ImageNet weights."""
    return TrainingConfig(
        name="lite",
        model=ModelConfig(
            name="lite",
            width=256,
            # Larger than in the encoder's own training, so that things in whole pictures are as large as in its
            # training crops (Touvron et al., 2019): 320 px instead of 260 raised mean average precision by 0.017.
            image_encoder=ImageEncoderConfig(resolution=320, tokens=101),
            # For tags that captions mention often, the recognition decoder is better than the classifier.
            class_support=100,
            # Dropout over hundreds of queries costs more time on a CPU than it gains on this little data.
            recognition=RecognitionConfig(layers=2, heads=4, inner=512, dropout=0.0),
            captioner=CaptionerConfig(layers=3, heads=4, inner=1024, attention_dropout=0.0),
            # Chosen on the pictures used to fit thresholds. The penalty prevents "a white shirt and a white shirt".
            decoding=DecodingConfig(repetition_penalty=1.5, alignment=0.05, agreement=0.3),
        ),
        sources=("coco20k/*.tar", "flickr8k/flickr8k-train-*.tar"),
        validation=("coco20k/coco20k-000019.tar", "flickr8k/flickr8k-dev-*.tar"),
        validation_pictures=2000,
        texts=("captions/*.txt.gz",),
        vocabulary=VocabularyConfig(read="captions", min_support=4, imagenet=True),
        teacher=TeacherConfig(texts=SENTENCE_ENCODER, classifier_threshold=0.4),
        views=4,
        objective=LiteConfig(),
        # Do not decay weights that were trained on a million pictures.
        encoder_weight_decay=0.0,
        stages=(
            TrainingStage(name="decoders", epochs=3, learning_rate=8e-4, cached="maps", views=2),
            TrainingStage(
                name="upper encoder",
                epochs=2.7,
                learning_rate=5e-4,
                encoder_learning_rate=1e-4,
                cached="maps",
                views=2,
            ),
            # Tags only: a step takes half the time, so there are twice as many views.
            TrainingStage(
                name="tags",
                epochs=6.6,
                learning_rate=4e-4,
                encoder_learning_rate=1.5e-4,
                warmup=100,
                cached="maps",
                objective=LiteConfig(captioning=0.0, texts=0.0),
            ),
            # Tags that captions leave out, found by the model in crops of the pictures' corners.
            TrainingStage(
                name="corners",
                epochs=2.5,
                learning_rate=3e-4,
                encoder_learning_rate=1e-4,
                warmup=100,
                cached="maps",
                objective=LiteConfig(captioning=0.0, texts=0.0, corners=1.0),
            ),
            # Only the captioner, on the recognizer's final features; a picture's captions share them.
            TrainingStage(
                name="captions",
                epochs=2,
                learning_rate=5e-4,
                only=CAPTIONER,
                cached="recognition",
                views=2,
                captions=5,
                warmup=100,
                objective=LiteConfig(tagging=0.0, alignment=0.0, texts=0.5),
            ),
            # Most of a batch are pictures with several captions, because only these have a consensus. There are only
            # 6,000 of them, so a longer stage would memorize them.
            TrainingStage(
                name="consensus",
                epochs=2.5,
                learning_rate=1e-4,
                only=CAPTIONER,
                cached="recognition",
                views=2,
                several=0.75,
                warmup=50,
                objective=LiteConfig(
                    tagging=0.0, alignment=0.0, texts=0.0, captioning=0.3, consensus=1.0, found_tags=0.6
                ),
            ),
        ),
    )


def further() -> TrainingConfig:
    """Continue from the shipped model, skipping the first three stages and the hours they take."""
    whole = recipe()
    vocabulary = VocabularyConfig(change="keep")
    return whole.model_copy(
        update={"start": "lite", "model": None, "vocabulary": vocabulary, "stages": whole.stages[3:]}
    )
