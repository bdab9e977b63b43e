"""What lets a sentence find pictures with the model that ships: ``anytag search --text``.

    anytag train recipes/lite_search.py --data DATA --run runs/lite-search

DATA holds what ``recipes/lite_evidence.py`` says; with the same ``--cache`` its pictures are not encoded again.
Variants are compared on ``coco20k-000019`` and Flickr8k dev.
"""

from anytag.training.recipes.evidence import PictureGroup
from anytag.training.recipes.joint_embedding import JointEmbeddingTraining


def recipe() -> JointEmbeddingTraining:
    """The settings of the fit."""
    return JointEmbeddingTraining(
        name="lite search",
        start="lite",
        groups=(
            PictureGroup(source={"path": ["coco20k/coco20k-00000?.tar", "coco20k/coco20k-00001[0-8].tar"]}, seen=True),
            PictureGroup(source="flickr8k/flickr8k-train-*.tar", seen=True),
        ),
    )
