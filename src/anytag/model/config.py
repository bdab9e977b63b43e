"""What a model is made of: the typed content of ``config.json``.

A family is a config, not a class tree: the same parts in other sizes.
"""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, PositiveFloat, field_validator, model_validator

from anytag.foundations.settings import Dropout, Fraction, Settings, Size
from anytag.pictures.preprocessing import Alpha, Preprocessing
from anytag.pictures.reading import Interpolation

#: Version of the model directory's layout; a reader refuses a newer one.
FORMAT_VERSION = 1

#: How many layers lie one above another.
Layers = Annotated[int, Field(ge=1, le=1000)]


class SwinConfig(Settings):
    """Sizes of a Swin Transformer (Liu et al., 2021); the defaults are those of Swin-L."""

    width: Size = 192
    depths: tuple[Layers, ...] = (2, 2, 18, 2)
    heads: tuple[Size, ...] = (6, 12, 24, 48)
    window: int = Field(default=12, ge=1, le=1024)
    drop_path: Dropout = 0.1


class ImageEncoderConfig(Settings):
    """The image encoder and what it wants to see.

    Pixels (0 … 255) enter as ``(pixel - mean) / std`` after the picture was brought to a square.

    Attributes:
        name: ``efficientnet_lite0`` … ``2``, or ``swin``.
        swin: Its sizes, if it is one.
        resolution: Side of the square, in pixels.
        width: Width of its tokens.
        tokens: Tokens of a picture, with their mean, which stands first.
        projection: How tokens become features: ``normalized`` (linear, layer norm, positions), ``linear`` (RAM) or
            ``none`` (Tag2Text).
        classes: Classes of the ImageNet classifier that the encoder was trained with and keeps (0: none). It is the
            second teacher, and knows things that captions seldom name.
        mean: Per channel.
        std: Per channel.
        interpolation: How pictures are resized: ``bicubic``, or ``bilinear`` for what the authors of Tag2Text, RAM and
            RAM++ published.
        alpha: What becomes of transparency: ``composite`` lays the picture on white, ``drop`` shows the colors that are
            stored.
        square: The way to the square. ``squash`` resizes the whole picture, whatever its shape, as the authors do: a
            crop would lose what captions mention. It is written down so that a model that was trained another way is
            refused, not read wrongly.
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
        """Models that were made before the release spell it so."""
        return "normalized" if value == "normalised" else value

    @property
    def preprocessing(self) -> Preprocessing:
        """How pictures become the pixels that it sees."""
        return Preprocessing(self.resolution, self.interpolation, self.alpha)


class RecognitionConfig(Settings):
    """The recognition decoder.

    ``score`` is ``shared`` (one linear layer for all labels, so that any label can be asked for) or ``per_tag``
    (Tag2Text's group-wise linear layer).
    """

    layers: Layers = 2
    heads: Size = 4
    inner: Size = 512
    dropout: Dropout = 0.1
    score: Literal["shared", "per_tag"] = "shared"


class ClipTextConfig(Settings):
    """CLIP's text encoder, which gives RAM and RAM++ their label embeddings; by default that of ViT-B/16.

    Attributes:
        vocabulary: Number of word pieces.
        positions: Longest text in word pieces, start and end included.
        width: Of the hidden states.
        layers: Transformer layers.
        heads: Attention heads.
        inner: Inner width of the feed-forward.
        embedding: Width of the text embedding.
        activation: ``quick_gelu`` (OpenAI's weights) or ``gelu`` (exact).
        norm_eps: Of the layer normalizations.
        end_token: Id of the piece that ends a text; the embedding is read off there.
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
    """Where label queries come from.

    Attributes:
        kind: ``text``: text embeddings through a small network (lite); ``learned``: a vector a tag (Tag2Text);
            ``embedded``: a text embedding a tag, projected (RAM); ``described``: embeddings of several descriptions
            a tag, weighted by the picture (RAM++).
        encoder: The text encoder that embeddings come from.
        width: Their width.
        inner: Inner width of lite's network.
        offsets: Whether lite's tags add a learned offset.
        descriptions: Descriptions a tag (RAM++: 51).
        clip_text: Sizes of CLIP's text encoder, if the model directory holds it for new categories.
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
        layers: Layers of the text decoder.
        interaction_layers: Layers of the interaction encoder, the lowest of which are the recognition decoder's;
            ``None``: those alone.
        heads: Attention heads of both.
        inner: Inner width of the text decoder's feed-forward.
        vocabulary: Number of word pieces.
        positions: Longest caption and longest tag list, in word pieces.
        picture_memory: Whether the text decoder looks at the picture's tokens beside the fused tags. Tag2Text's
            does not; a small model gains by it, and a caption without tags becomes possible.
        shared_words: Whether the interaction encoder and the text decoder embed words alike.
        tokenizer: ``pruned`` (:mod:`anytag.language.tokenizers.tokenizer`) or ``bert`` (BERT's word pieces).
        guides: Which of the tags found guide a caption: the most ``specific`` ones, best first, or ``all`` in the
            vocabulary's order (Tag2Text).
        tag_length: Tag lists are cut or padded to that many pieces; 0: they are as long as they are. With ``bert``
            only.
        mask_padding: Whether the text decoder leaves the padding of tag lists out. The official models do not,
            so that their captions depend on ``tag_length``.
        prompt: Every caption starts with it, and it is cut off again. With ``bert`` only.
        dropout: In training.
        attention_dropout: Of attention weights in training; ``None``: the same.
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

    Attributes:
        num_beams: Captions that are followed at once.
        max_length: Most tokens.
        min_length: Fewest tokens.
        length_penalty: Exponent of the length by which scores are divided.
        repetition_penalty: Factor against tokens that stand already.
        alignment: Weight of a caption's fit to the picture, as the recognition decoder scores it, beside its own
            score, in choosing among the beams; 0 takes the likeliest.
        agreement: Weight of the tags' scores in choosing words: what the picture does not show is said less readily,
            and what it shows more so; 0 leaves all words to the text decoder.
        support: By how much, in log-odds, a thing may miss its tag's threshold and still be claimed by a caption that
            nobody asked for in other words; ``None``: captions may claim anything.
        known_support: The same of objects that the image encoder's classifier knows, or kinds of them: of those, a low
            score says more; ``None``: as ``support``.
        guide_room: By how much a tag may miss its threshold and still guide captions. A guide is a proposal, which the
            text decoder may pass over; what is shown is not.
        plain_from: How unlike captioned pictures, in [0, 1], a picture is from which on its caption is a plain sentence
            about the tags that are seen; above 1: it never is for that.
        seldom: A picture's best thing that captions of fewer training pictures named has to be in its caption, which
            follows that thing alone, or is replaced by a plain one; 0: it need not.
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
    """How predictors other than the recognition decoder are weighed (:mod:`anytag.inference.evidence`).

    Attributes:
        temperature: Of the classifier: its log-probabilities are divided by it and normalized again; below 1 makes it
            surer.
        floor: Added to the probability of a tag's classes; below that the classifier has nothing more to say.
        least: Log-probabilities below this are raised to it before the picture network reads them.
        exclusive: Id of the tag whose kinds exclude each other ("animal"); ``None``: none do.
        general: Ids of tags below it that are not kinds of it ("pet").
        open_floor: Likewise, to that of all classes, each as far as it is like a text outside the vocabulary.
        sharpness: How quickly texts outside the vocabulary become unlike the names of classes
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
    """How pictures and sentences become vectors of one space (:mod:`anytag.inference.joint_embedding`).

    Attributes:
        least: Log-probabilities of classes below this are raised to it.
        tag_weight: What the score of a tag counts that a picture shows and the sentence names, beside the cosine.
    """

    least: float = -14.0
    tag_weight: float = Field(0.05, ge=0)


class ModelConfig(Settings):
    """A whole model.

    Attributes:
        format: Layout version of the directory.
        family: ``lite``, ``tag2text``, ``ram`` or ``ram_plus``.
        name: What the model is called in results and model cards.
        width: Width of queries and captioner.
        feature_width: Width of features; ``None``: the same.
        class_threshold: Probability from which on a class of the image encoder's own classifier counts as found.
        class_support: The classifier finds tags by itself only that were true of fewer training pictures than this,
            which captions taught little of; ``None``: any.
        class_weight: Weight of the logarithm of a class's probability beside the logits of all other tags.
        evidence: How other predictors are weighed against the recognition decoder; ``None``: it speaks alone, or with
            the classifier as above.
        joint_embedding: How sentences find pictures; ``None``: they do not.
        score_slope: Factor on log-odds, after a tag's shift, that makes scores probabilities.
        open_shift: Shift of categories outside the vocabulary.
        training_pictures: Number that a tag's support is a part of.
        default_threshold: For tags without one of their own.
        open_threshold: For categories outside the vocabulary, whose scores run lower.
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
        """Which sizes cannot go together, in a sentence; ``None`` if a network can be made of them."""
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
        """Width of a picture's features."""
        return self.feature_width or self.width
