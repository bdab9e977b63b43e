"""The shipped model's joint embedding of pictures and sentences, for ``anytag search --text``.

    anytag train recipes/lite_search.py --data DATA --run runs/lite-search

DATA is that of ``recipes/lite_evidence.py``; with the same ``--cache``, its pictures are not encoded again.
Variants are compared on ``coco20k-000019`` and Flickr8k dev.
"""

from pathlib import Path

from anytag.training.recipes.evidence import EvidenceTraining
from anytag.training.recipes.joint_embedding import JointEmbeddingTraining
from anytag.training.recipes.loading import load_recipe


def recipe() -> JointEmbeddingTraining:
    """The settings of the fit."""
    evidence = load_recipe(str(Path(__file__).with_name("lite_evidence.py")))
    assert isinstance(evidence, EvidenceTraining)
    # The captioned pictures that the recognition decoder was trained on.
    groups = tuple(group for group in evidence.groups if group.seen)
    return JointEmbeddingTraining(name="lite search", start="lite", groups=groups)
