"""The shipped model's evidence: how much its classifier and the mean image feature add to the decoder's logits.

    anytag train recipes/lite_evidence.py --data DATA --run runs/lite-evidence

DATA contains the data of ``recipes/lite.py``, WebDataset shards ``coco_more/*.tar`` with captions, and ``world/*.tar``,
photographs with one class each (JSON key ``label``) and the classes of their collections in
``world/collections.json``. ``recipes/more_world.py`` makes ``more_world``, photographs of flowers. Variants are
compared on ``coco20k-000019``, Flickr8k dev, ``coco_more-000005`` and the pictures of ``world`` and ``more_world``
whose ids have remainder 1 when divided by 8; those with remainder 0 are for reporting.
"""

from anytag.model.config import DecodingConfig
from anytag.training.recipes.evidence import EvidenceTraining, OpenConfig, PictureGroup


def recipe() -> EvidenceTraining:
    """The settings of the fit."""
    return EvidenceTraining(
        name="lite evidence",
        start="lite",
        groups=(
            PictureGroup(source={"path": ["coco20k/coco20k-00000?.tar", "coco20k/coco20k-00001[0-8].tar"]}, seen=True),
            PictureGroup(source="flickr8k/flickr8k-train-*.tar", seen=True),
            PictureGroup(source="coco_more/coco_more-00000[0-4].tar"),
            PictureGroup(
                source={"path": "world/*.tar", "tags": "label"},
                collections="world/collections.json",
                absent=("animal", "food", "flower"),
                modulus=8,
                remainders=(2, 3, 4, 5, 6, 7),
            ),
            PictureGroup(
                source={"path": "more_world/*.tar", "tags": "label"},
                collections="more_world/collections.json",
                absent=("animal", "food"),
                modulus=8,
                remainders=(2, 3, 4, 5, 6, 7),
            ),
        ),
        # Definitions describe a class better than names do; Debian has them in the package wordnet-base.
        open=OpenConfig(wordnet="/usr/share/wordnet"),
        # Chosen so that four in five shown tags are true on pictures judged by people (benchmarks/shown_tags.py).
        unfamiliar=5.0,
        unfamiliar_implied=3.5,
        object_threshold=0.55,
        other_threshold=0.75,
        # Captions may mention likely objects; those that the classifier knows must nearly reach their thresholds.
        decoding=DecodingConfig(
            num_beams=3,
            max_length=24,
            min_length=6,
            repetition_penalty=1.5,
            alignment=0.05,
            agreement=0.3,
            support=3.0,
            known_support=0.8,
            guide_room=1.5,
            plain_from=0.5,
            seldom=60,
        ),
        general=(
            *("pet", "wild animal", "farm animal", "livestock", "wildlife", "herd", "herd of animals", "flock"),
            *("cub", "baby animal", "creature", "zoo animal", "mammal", "sea creature"),
        ),
    )
