"""Typed configuration of a model, as in ``config.json``.

Families differ only in their configs: all are made of the same parts.
"""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, PositiveFloat, field_validator, model_validator

from anytag.foundations.settings import Dropout, Fraction, Settings, Size
from anytag.pictures.preprocessing import Alpha, Preprocessing
from anytag.pictures.reading import Interpolation

#: Version of the model directory's layout; a reader refuses a newer one.
FORMAT_VERSION = 1

#: Number of layers.
Layers = Annotated[int, Field(ge=1, le=1000)]


class SwinConfig(Settings):
    """Sizes of a Swin Transformer (Liu et al., 2021); the defaults are those of Swin-L."""

    width: Size = 192
    depths: tuple[Layers, ...] = (2, 2, 18, 2)
    heads: tuple[Size, ...] = (6, 12, 24, 48)
    window: int = Field(default=12, ge=1, le=1024)
    drop_path: Dropout = 0.1


class ImageEncoderConfig(Settings):
    """The image encoder and its preprocessing.

    Pictures are resized to a square; then pixels (0 … 255) are normalized as ``(pixel - mean) / std``.

    Attributes:
        name: ``efficientnet_lite0`` … ``2``, or ``swin``.
        resolution: Side of the square, in pixels.
        tokens: Tokens per picture, including their mean, which comes first.
        projection: From tokens to features: ``normalized`` (linear, layer norm, positions), ``linear`` (RAM) or
            ``none`` (Tag2Text).
        classes: Classes of the encoder's ImageNet classifier, which recognizes things that captions seldom name; 0: no
            classifier.
        interpolation: For resizing pictures; the official Tag2Text, RAM and RAM++ models use ``bilinear``.
        alpha: How transparency is removed: ``composite`` over white, or ``drop``.
        square: ``squash``: the whole picture is resized regardless of its aspect ratio, as in the official models; a
            crop could lose what captions mention. A model with any other value is refused.
    """

    name: str = "efficientnet_lite2"
    swin: SwinConfig | None = None
    projection: Literal["normalized", "linear", "none"] = "normalized"
    resolution: int = Field(default=260, ge=1, le=16_384)
    width: Size = 1280
    tokens: Size = 82
    classes: int = Field(default=1000, ge=0, le=1 << 20)
    mean: tuple[float, float, float] = (127.0, 127.0, 127.0)
    std: tuple[PositiveFloat, PositiveFloat, PositiveFloat] = (128.0, 128.0, 128.0)
    interpolation: Interpolation = "bicubic"
    alpha: Alpha = "composite"
    square: Literal["squash"] = "squash"

    @field_validator("projection", mode="before")
    @classmethod
    def _spelled_as_before(cls, value: object) -> object:
        """Accept the spelling of models from before the release."""
        return "normalized" if value == "normalised" else value

    @property
    def preprocessing(self) -> Preprocessing:
        """From pictures to pixels."""
        return Preprocessing(self.resolution, self.interpolation, self.alpha)


class RecognitionConfig(Settings):
    """The recognition decoder.

    ``score`` is ``shared`` (one linear layer for all labels, which supports new categories) or ``per_tag`` (Tag2Text's
    group-wise linear layer).
    """

    layers: Layers = 2
    heads: Size = 4
    inner: Size = 512
    dropout: Dropout = 0.1
    score: Literal["shared", "per_tag"] = "shared"


class ClipTextConfig(Settings):
    """CLIP's text encoder, which computes the label embeddings of RAM and RAM++; the defaults are those of ViT-B/16.

    Attributes:
        vocabulary: Number of word pieces.
        positions: Longest text in word pieces, start and end included.
        activation: ``quick_gelu`` (OpenAI's weights) or ``gelu`` (exact).
        end_token: Id of the last piece of a text, whose hidden state becomes the embedding.
    """

    vocabulary: Size = 49408
    positions: int = Field(77, ge=2, le=1 << 20)
    width: Size = 512
    layers: Layers = 12
    heads: Size = 8
    inner: Size = 2048
    embedding: Size = 512
    activation: Literal["quick_gelu", "gelu"] = "quick_gelu"
    norm_eps: float = Field(1e-5, gt=0)
    end_token: int = Field(49407, ge=0)


class LabelQueryConfig(Settings):
    """How label queries are computed.

    Attributes:
        kind: ``text``: text embeddings through a small network (lite); ``learned``: one vector per tag (Tag2Text);
            ``embedded``: one projected text embedding per tag (RAM); ``described``: embeddings of several descriptions
            per tag, weighted by the picture (RAM++).
        encoder: The text encoder of the embeddings.
        inner: Inner width of lite's network.
        offsets: Whether lite's tags add a learned offset.
        descriptions: Descriptions per tag (RAM++: 51).
        clip_text: Sizes of CLIP's text encoder, if the model directory contains it for new categories.
    """

    kind: Literal["text", "learned", "embedded", "described"] = "text"
    encoder: str = "all-MiniLM-L6-v2"
    width: Size = 384
    inner: Size = 512
    offsets: bool = True
    descriptions: int = Field(default=1, ge=1, le=10_000)
    clip_text: ClipTextConfig | None = None


class CaptionerConfig(Settings):
    """Interaction encoder and text decoder.

    Attributes:
        interaction_layers: Layers of the interaction encoder, the lowest of which are shared with the recognition
            decoder; ``None``: only those.
        inner: Inner width of the text decoder's feed-forward.
        vocabulary: Number of word pieces.
        positions: Longest caption and longest tag list, in word pieces.
        picture_memory: Whether the text decoder attends to the picture's tokens beside the fused tags. It does not in
            Tag2Text; it improves small models, and allows captions without tags.
        shared_words: Whether the interaction encoder and the text decoder share word embeddings.
        tokenizer: ``pruned`` (:mod:`anytag.language.tokenizers.tokenizer`) or ``bert`` (BERT's word pieces).
        guides: Which predicted tags guide a caption: the most ``specific``, best first, or ``all`` in the vocabulary's
            order (Tag2Text).
        tag_length: Tag lists are truncated or padded to this many pieces; 0: neither. Only with ``bert``.
        mask_padding: Whether the text decoder ignores the padding of tag lists. The official models do not, so that
            their captions depend on ``tag_length``.
        prompt: Start of every caption, removed from the result. Only with ``bert``.
        attention_dropout: Dropout of attention weights in training; ``None``: ``dropout``.
    """

    layers: Layers = 3
    interaction_layers: Layers | None = None
    heads: Size = 4
    inner: Size = 1024
    vocabulary: int = Field(default=0, ge=0, le=1 << 24)
    positions: Size = 48
    picture_memory: bool = True
    shared_words: bool = True
    tokenizer: Literal["pruned", "bert"] = "pruned"
    guides: Literal["specific", "all"] = "specific"
    tag_length: int = Field(default=0, ge=0)
    mask_padding: bool = True
    prompt: str = ""
    dropout: Dropout = 0.1
    attention_dropout: Dropout | None = None

    @model_validator(mode="after")
    def _only_with_bert(self) -> Self:
        if self.tokenizer != "bert" and (self.tag_length or self.prompt):
            raise ValueError("tag_length and prompt need the tokenizer bert")
        return self


class DecodingConfig(Settings):
    """Defaults of caption generation; lengths count the start token.

    The options from ``support`` on only apply to captions without tags from the user.

    Attributes:
        length_penalty: Exponent of the length by which scores are divided.
        repetition_penalty: Penalty on repeated tokens; 1: none.
        alignment: Weight of the recognition decoder's match score in choosing among the beams; 0: by likelihood only.
        agreement: Weight of the tags' scores in the scores of the words that name them; 0: none.
        support: By how much, in log-odds, a tag may miss its threshold and still be mentioned; ``None``: captions may
            mention anything.
        known_support: The same for objects that the image encoder's classifier knows, whose low scores are more
            reliable; ``None``: as ``support``.
        guide_room: By how much, in log-odds, a tag may miss its threshold and still guide captions. The text decoder
            may ignore guides.
        plain_from: From this unfamiliarity on, in [0, 1], captions are plain sentences made of tags; above 1: never.
        seldom: If a picture's best object was named in captions of fewer training pictures than this, its caption is
            guided by that object alone and must mention it, or becomes a plain sentence; 0: never.
    """

    num_beams: int = Field(default=3, ge=1)
    max_length: int = Field(default=24, ge=1)
    min_length: int = Field(default=6, ge=0)
    length_penalty: float = 1.0
    repetition_penalty: float = Field(default=1.0, gt=0)
    alignment: float = 0.0
    agreement: float = 0.0
    support: float | None = None
    known_support: float | None = None
    guide_room: float = Field(default=0.0, ge=0)
    plain_from: float = Field(default=2.0, ge=0)
    seldom: int = Field(default=0, ge=0)


class EvidenceConfig(Settings):
    """Combination of the recognition decoder with other predictors (:mod:`anytag.inference.evidence`).

    Attributes:
        temperature: Of the classifier's probabilities; below 1 sharpens them.
        floor: Added to the probability of a tag's classes before the logarithm.
        least: Lower bound of log-probabilities in the picture network's inputs.
        exclusive: Id of the tag whose kinds exclude each other ("animal"); ``None``: none do.
        general: Ids of tags below it that are not kinds of it ("pet").
        open_floor: ``floor`` for texts outside the vocabulary.
        sharpness: Of the similarity between texts and names of classes
            (:class:`~anytag.inference.open_evidence.ClassSimilarity`).
    """

    temperature: float = Field(1.0, gt=0)
    floor: float = Field(1e-3, gt=0)
    least: float = -14.0
    exclusive: int | None = None
    general: tuple[int, ...] = ()
    open_floor: float = Field(1e-4, gt=0)
    sharpness: float = Field(10.0, gt=0)


class JointEmbeddingConfig(Settings):
    """Search of pictures by sentences (:mod:`anytag.inference.joint_embedding`).

    Attributes:
        least: Lower bound of log-probabilities of classes.
        tag_weight: Weight of the scores of tags that the sentence names, relative to the cosine similarity.
    """

    least: float = -14.0
    tag_weight: float = Field(0.05, ge=0)


class ModelConfig(Settings):
    """A whole model.

    Attributes:
        format: Layout version of the directory.
        family: ``lite``, ``tag2text``, ``ram`` or ``ram_plus``.
        name: Name in results and model cards.
        width: Width of queries and captioner.
        feature_width: Width of image features; ``None``: ``width``.
        class_threshold: Probability of the image encoder's classifier that corresponds to a tag's threshold.
        class_support: Tags with fewer training pictures than this are also recognized by the classifier alone;
            ``None``: all tags are.
        class_weight: Weight of the classes' log-probabilities in the logits of all other tags.
        evidence: Combination with other predictors; ``None``: none, except the classifier as above.
        joint_embedding: Search by sentences; ``None``: not supported.
        score_slope: Factor on log-odds, after a tag's shift, that calibrates scores.
        open_shift: Shift of categories outside the vocabulary.
        training_pictures: Number of training pictures, of which a tag's support is a part.
        default_threshold: For tags without their own.
        open_threshold: For categories outside the vocabulary, whose scores are lower.
        files: SHA-256 of every other file of the directory.
    """

    format: int = Field(default=FORMAT_VERSION, ge=1, le=FORMAT_VERSION)
    family: Literal["lite", "tag2text", "ram", "ram_plus"] = "lite"
    name: str = "lite"
    width: Size = 256
    feature_width: Size | None = None
    image_encoder: ImageEncoderConfig = Field(default_factory=ImageEncoderConfig)
    recognition: RecognitionConfig = Field(default_factory=RecognitionConfig)
    labels: LabelQueryConfig = Field(default_factory=LabelQueryConfig)
    captioner: CaptionerConfig | None = Field(default_factory=CaptionerConfig)
    decoding: DecodingConfig = Field(default_factory=DecodingConfig)
    class_threshold: float = Field(default=0.4, ge=0)
    class_support: int | None = Field(default=None, ge=0)
    class_weight: float = 0.0
    evidence: EvidenceConfig | None = None
    joint_embedding: JointEmbeddingConfig | None = None
    score_slope: float = Field(default=1.0, gt=0)
    open_shift: float = 0.0
    training_pictures: int = Field(default=0, ge=0)
    default_threshold: Fraction = 0.5
    open_threshold: Fraction = 0.5
    files: dict[str, str] = Field(default_factory=dict)

    def misfit(self) -> str | None:
        """Describe sizes that contradict each other; ``None`` if there are none."""
        encoder = self.image_encoder
        for name, part in (("recognition", self.recognition), ("captioner", self.captioner)):
            if part is not None and self.width % part.heads:
                return f"a width of {self.width} cannot be divided among {part.heads} heads ({name}.heads)"
        if encoder.projection == "none" and encoder.width != self.features:
            return (
                f"features are {self.features} wide, but tokens that are not projected {encoder.width}; set "
                "feature_width to that"
            )
        if encoder.projection == "none" and self.labels.kind == "text":
            return "label queries of the kind 'text' need tokens that are projected; set image_encoder.projection"
        if self.captioner is not None and self.captioner.tag_length > self.captioner.positions:
            return (
                f"tag lists of {self.captioner.tag_length} pieces do not fit into the captioner's "
                f"{self.captioner.positions} positions (tag_length, positions)"
            )
        return None

    @property
    def features(self) -> int:
        """Width of image features."""
        return self.feature_width or self.width
