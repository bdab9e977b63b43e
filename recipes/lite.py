"""The model that ships with anytag.

    anytag train recipes/lite.py --data DATA --run runs/lite

    anytag train recipes/lite.py:further --data DATA --run runs/further      goes on from the shipped model

DATA holds WebDataset shards ``coco20k/*.tar`` and ``flickr8k/*.tar`` and caption files ``captions/*.txt.gz``. Human
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
    """The run's settings."""
    return TrainingConfig(
        name="lite",
        model=ModelConfig(
            name="lite",
            width=256,
            # Larger than in the encoder's own training, so that things in whole pictures are as large as they were in
            # its crops (Touvron et al., 2019): 320 px instead of 260 brought 0.017 of mean average precision.
            image_encoder=ImageEncoderConfig(resolution=320, tokens=101),
            # Of what captions name often the recognition decoder knows more than the classifier.
            class_support=100,
            # Dropout over hundreds of queries costs more time on a CPU than it gains on this little data.
            recognition=RecognitionConfig(layers=2, heads=4, inner=512, dropout=0.0),
            captioner=CaptionerConfig(layers=3, heads=4, inner=1024, attention_dropout=0.0),
            # Chosen on the pictures that thresholds are fitted on. The penalty ends "a white shirt and a white shirt".
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
        # What learned on a million pictures is not shrunk.
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
            # Tags only: half the time of a step, spent on twice the views.
            TrainingStage(
                name="tags",
                epochs=6.6,
                learning_rate=4e-4,
                encoder_learning_rate=1.5e-4,
                warmup=100,
                cached="maps",
                objective=LiteConfig(captioning=0.0, texts=0.0),
            ),
            # What captions leave out, as the model sees it in the pictures' corners.
            TrainingStage(
                name="corners",
                epochs=2.5,
                learning_rate=3e-4,
                encoder_learning_rate=1e-4,
                warmup=100,
                cached="maps",
                objective=LiteConfig(captioning=0.0, texts=0.0, corners=1.0),
            ),
            # The captioner alone, on what the recognizer has become; a picture's captions share its features.
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
            # Most of a batch are pictures with several captions: only they have a consensus to agree with. These are
            # 6,000, and from here on the captioner learns them by heart.
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
    """Goes on from the model that ships, which has been through the first three stages: their hours are saved."""
    whole = recipe()
    vocabulary = VocabularyConfig(change="keep")
    return whole.model_copy(
        update={"start": "lite", "model": None, "vocabulary": vocabulary, "stages": whole.stages[3:]}
    )
