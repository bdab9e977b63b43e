"""Config of a recipe for evidence: the pictures to fit on, the network, and the weights."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, model_validator

from anytag.foundations.settings import Seed, Settings
from anytag.model.config import DecodingConfig
from anytag.training.recipes.config import SourceSpec


class PictureGroup(Settings):
    """Pictures with the same kind of annotations.

    Attributes:
        source: As in other recipes; paths are relative to the data folder.
        collections: A JSON file, ``{collection: {"classes": [name, ...]}}``, for pictures labeled with one class each
            (``"tags": "label"`` in ``source``): the class is there, the other classes of its collection are absent,
            everything else is unknown. ``None``: the pictures have captions, which name some of what is there.
        absent: Names of tags that are absent, with all their kinds, unless the class is one of them: no animal in
            photographs of fruit and instruments, no food in those of flowers.
        modulus: Only pictures whose numeric id modulo this is one of ``remainders`` are read.
        remainders: See ``modulus``.
        seen: Whether the recognition decoder was trained on the pictures. It is more certain about them than about
            others, so they train the network, but no weights are fitted on them.
    """

    source: SourceSpec
    collections: str | None = None
    absent: tuple[str, ...] = ()
    modulus: int = Field(default=1, ge=1)
    remainders: tuple[int, ...] = (0,)
    seen: bool = False


class NetworkConfig(Settings):
    """The small network over a picture's mean token and its class probabilities.

    Attributes:
        hidden: Units of its one hidden layer.
        epochs: Passes over the pictures.
        learning_rate: Maximum, reached after a tenth of the steps (one-cycle schedule).
        weight_decay: Weight decay of matrices.
        labeled_weight: Weight of a picture with a class relative to one with captions.
    """

    hidden: int = Field(default=256, ge=1)
    epochs: int = Field(default=6, ge=1)
    learning_rate: float = Field(default=2e-3, gt=0, le=1)
    weight_decay: float = Field(default=0.02, ge=0)
    batch_size: int = Field(default=96, ge=1)
    input_dropout: float = Field(default=0.1, ge=0, lt=1)
    dropout: float = Field(default=0.2, ge=0, lt=1)
    labeled_weight: float = Field(default=2.0, gt=0)


class WeightsConfig(Settings):
    """The weights of all predictors.

    A weight is the sum of one for all tags, one for the tag's group, and one for the tag. The latter two are
    regularized, so that tags without examples get the weights of tags with similar amounts of training data.

    Attributes:
        folds: Folds of cross-validation: the network is trained so many times, each time without one part of the
            pictures, to predict that part as new pictures.
        known: Tags with fewer training pictures of the decoder can be found by the classifier alone.
        known_picture: The network's weight relative to the decoder's, for tags with at least 31 training pictures of
            the decoder; it gets more weight where a picture is unfamiliar.
        known_classes: The classifier's weight relative to the decoder's, for these tags.
        general: A tag that at least so many classes imply is general ("animal").
        group_strength: Regularization of a group's weights towards those of all tags.
        tag_strength: Regularization of a tag's weights towards those of its group.
        bias_strength: Regularization of a tag's bias.
        easy_share: Share of the pairs of picture and tag that no predictor finds likely which are sampled; they are
            weighted accordingly.
        decoder_room: Margin beyond the lowest and highest logits of the decoder on the fitted pictures. Tags that the
            other predictors rule out within that range are not given to the decoder.
    """

    folds: int = Field(default=2, ge=2)
    known: int = Field(default=600, ge=1)
    known_picture: float = Field(default=0.12, ge=0)
    known_classes: float = Field(default=0.2, ge=0)
    general: int = Field(default=40, ge=1)
    group_strength: float = Field(default=20.0, gt=0)
    tag_strength: float = Field(default=6.0, gt=0)
    bias_strength: float = Field(default=4.0, gt=0)
    easy_share: float = Field(default=0.015, gt=0, le=1)
    steps: int = Field(default=50, ge=1)
    decoder_room: float = Field(default=2.0, ge=0)


class OpenConfig(Settings):
    """The weights of texts outside the vocabulary (:mod:`anytag.inference.open_evidence`).

    Attributes:
        taught: Tags with fewer training pictures of the decoder stand in for such texts.
        positives: Minimum number of pictures that show such a tag.
        easy_share: Share of the pairs of picture and tag without a positive label which are sampled; they are weighted
            accordingly.
        floor: Added to the similarity-weighted sum of class probabilities.
        sharpness: See :class:`~anytag.inference.open_evidence.ClassSimilarity`.
        wordnet: Folder of WordNet's database files, whose definitions are embedded beside the class names; ``None``:
            use the tags that the classes imply.
        threshold: Threshold of such texts.
    """

    taught: int = Field(default=8, ge=1)
    positives: int = Field(default=5, ge=1)
    easy_share: float = Field(default=0.03, gt=0, le=1)
    floor: float = Field(default=1e-4, gt=0)
    sharpness: float = Field(default=10.0, gt=0)
    wordnet: str | None = None
    threshold: float = Field(default=0.5, gt=0, lt=1)


class EvidenceTraining(Settings):
    """A recipe that adds evidence to a model (:mod:`anytag.inference.evidence`).

    Attributes:
        start: The model, whose networks are not changed: a directory, or ``lite`` for the shipped one.
        groups: Training pictures. No picture may be in two groups.
        parser: Reads captions (``auto``, ``spacy`` or ``light``).
        open: Settings of the weights of texts outside the vocabulary.
        temperature: See :class:`~anytag.model.config.EvidenceConfig`; so are ``floor`` and ``least``.
        exclusive: Name of the tag whose kinds exclude each other.
        general: Names of tags below it that are not kinds of it.
        unfamiliar: Subtracted from the log-odds of tags that only captions name, where a picture is wholly unlike
            captioned ones, in addition to the fitted weight.
        unfamiliar_implied: The same for tags that classes of pictures imply, but that are neither classes themselves
            nor ``absent`` from other pictures.
        decoding: Decoding of captions, which depends on how reliable scores are; ``None``: unchanged.
    """

    name: str = "evidence"
    start: str = "lite"
    groups: tuple[PictureGroup, ...]
    parser: Literal["auto", "spacy", "light"] = "auto"
    network: NetworkConfig = Field(default_factory=NetworkConfig)
    weights: WeightsConfig = Field(default_factory=WeightsConfig)
    open: OpenConfig = Field(default_factory=OpenConfig)
    temperature: float = Field(default=0.6, gt=0)
    floor: float = Field(default=1e-3, gt=0)
    least: float = -14.0
    exclusive: str | None = "animal"
    general: tuple[str, ...] = ()
    unfamiliar: float = Field(default=0.0, ge=0)
    unfamiliar_implied: float = Field(default=0.0, ge=0)
    object_threshold: float = Field(default=0.4, gt=0, lt=1)
    other_threshold: float = Field(default=0.6, gt=0, lt=1)
    decoding: DecodingConfig | None = None
    seed: Seed = 0

    @model_validator(mode="after")
    def _something_is_new(self) -> Self:
        if all(group.seen for group in self.groups):
            raise ValueError(
                "groups: the recognition decoder was trained on all of them, so its reliability cannot be measured; "
                "add pictures that it was not trained on"
            )
        return self
