"""What a recipe for evidence returns: which pictures teach what, and how the network and the weights are fitted."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, model_validator

from anytag.foundations.settings import Seed, Settings
from anytag.model.config import DecodingConfig
from anytag.training.recipes.config import SourceSpec


class PictureGroup(Settings):
    """Pictures that are alike in what is known of them.

    Attributes:
        source: As in other recipes; paths are relative to the data folder.
        collections: A JSON file, ``{collection: {"classes": [name, ...]}}``, where the pictures are labeled with one
            class each (``"tags": "label"`` in ``source``): the class is there, the other classes of its collection are
            not, and of everything else nobody knows. ``None``: the pictures have captions, which name some of what
            is there.
        absent: Names of tags that pictures with a class do not show, nor any kind of theirs, unless the class is one:
            no animal in photographs of fruit and instruments, no food in those of flowers.
        modulus: Pictures are told apart by what their ids, which are numbers then, leave when divided by this.
        remainders: Only pictures whose ids leave one of these are read.
        seen: Whether the recognition decoder learned from the pictures. What it says of them is surer than it is
            elsewhere, so that they teach the network, but no weights.
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
        learning_rate: The highest; a tenth of the steps go up to it, the others down to nothing.
        weight_decay: Of matrices.
        batch_size: Pictures a step.
        input_dropout: Share of inputs left out at a step.
        dropout: Share of hidden units left out.
        labeled_weight: Weight of a picture with a class against one with captions.
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

    A weight is the sum of one that all tags share, one of the tag's group, and the tag's own. The latter two are drawn
    towards zero, so that tags without examples are weighed like others of which as much is known.

    Attributes:
        folds: The network speaks of every picture that weights are fitted on as if it had not learned from it: it is
            trained so many times, without another part of them each time.
        known: Tags that fewer captions of the decoder's training pictures named can be found by the classifier's word
            alone.
        known_picture: What the network counts where captions of 31 such pictures named a tag, as a share of the
            decoder's weight: there the decoder is asked first. Where a picture is unfamiliar, more comes to it.
        known_classes: What the classifier counts there, likewise.
        general: Classes that imply a tag from which on it counts as general ("animal").
        group_strength: How strongly a group's weights are drawn towards those that all tags share.
        tag_strength: How strongly a tag's weights are drawn towards its group's.
        bias_strength: The same of its bias.
        easy_share: Share of the pairs of picture and tag that count which no predictor believes in; each stands for
            many.
        steps: Of the optimizer, at most.
        decoder_room: How far beyond the lowest and the highest logit that it gave any of the pictures the decoder is
            thought to go; tags that the others rule out even so are not asked of it.
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
        taught: Tags that fewer of the decoder's training pictures showed stand for such texts.
        positives: Pictures that show such a tag, at least.
        easy_share: Share of the pairs of picture and tag that count where the tag is not said to be there; each stands
            for many.
        floor: Added to the probability of all classes, each as far as it is like a text.
        sharpness: See :class:`~anytag.inference.open_evidence.ClassSimilarity`.
        wordnet: Folder of WordNet's database files, whose definitions say what classes mean beside their names;
            ``None``: the tags that they imply do.
        threshold: Score from which on such a text counts as found.
    """

    taught: int = Field(default=8, ge=1)
    positives: int = Field(default=5, ge=1)
    easy_share: float = Field(default=0.03, gt=0, le=1)
    floor: float = Field(default=1e-4, gt=0)
    sharpness: float = Field(default=10.0, gt=0)
    wordnet: str | None = None
    threshold: float = Field(default=0.5, gt=0, lt=1)


class EvidenceTraining(Settings):
    """A recipe that gives a model evidence (:mod:`anytag.inference.evidence`).

    Attributes:
        name: Of the recipe.
        start: The model, whose networks stay as they are: a directory, or ``lite`` for the one that ships.
        groups: What is learned from. No picture may be in two of them.
        parser: Reads captions (``auto``, ``spacy`` or ``light``).
        network: The small network.
        weights: The weights.
        open: The weights of texts outside the vocabulary.
        temperature: Of the classifier; see :class:`~anytag.model.config.EvidenceConfig`.
        floor: Likewise.
        least: Likewise.
        exclusive: Name of the tag whose kinds exclude each other.
        general: Names of tags below it that are not kinds of it.
        unfamiliar: What is taken from the log-odds of tags that only captions speak of, where a picture is wholly
            unlike those with captions, beside what the fit finds for tags of which as much is known.
        unfamiliar_implied: The same of tags that follow from classes of pictures, but are neither classes themselves
            nor ``absent`` from other pictures.
        object_threshold: Score from which on an object counts as found.
        other_threshold: The same of attributes, actions and scenes.
        decoding: How captions are written, which depends on how far scores can be trusted; ``None``: as before.
        seed: Of everything drawn.
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
                "groups: the recognition decoder has seen all of them, so nothing says how far to trust it; name "
                "pictures that it has not learned from"
            )
        return self
