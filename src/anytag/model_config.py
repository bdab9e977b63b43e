"""What a model is made of: the typed content of ``config.json``.

A family is a config, not a class tree: the same parts in other sizes.
"""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

#: Version of the model directory's layout; a reader refuses a newer one.
FORMAT_VERSION = 1


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class ImageEncoderConfig(_Part):
    """The image encoder and what it wants to see.

    ``classes`` counts the classes of the ImageNet classifier that the encoder was trained with and keeps (0: none).
    It is the second teacher, and knows things that captions seldom name.

    Pixels (0 … 255) enter as ``(pixel - mean) / std`` after the picture was squashed to a square.
    """

    name: str = "efficientnet_lite2"
    resolution: int = 260
    width: int = 1280
    tokens: int = 82
    classes: int = 1000
    mean: tuple[float, float, float] = (127.0, 127.0, 127.0)
    std: tuple[float, float, float] = (128.0, 128.0, 128.0)


class RecognitionConfig(_Part):
    """The recognition decoder."""

    layers: int = 2
    heads: int = 4
    inner: int = 512
    dropout: float = 0.1


class LabelQueryConfig(_Part):
    """Where label queries come from: text embeddings, projected; trained tags may add an offset of their own."""

    encoder: str = "all-MiniLM-L6-v2"
    width: int = 384
    inner: int = 512
    offsets: bool = True


class ClipTextConfig(_Part):
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
        norm_eps: Of the layer normalisations.
        end_token: Id of the piece that ends a text; the embedding is read off there.
    """

    vocabulary: int = Field(49408, ge=1)
    positions: int = Field(77, ge=2)
    width: int = Field(512, ge=1)
    layers: int = Field(12, ge=1)
    heads: int = Field(8, ge=1)
    inner: int = Field(2048, ge=1)
    embedding: int = Field(512, ge=1)
    activation: Literal["quick_gelu", "gelu"] = "quick_gelu"
    norm_eps: float = Field(1e-5, gt=0)
    end_token: int = Field(49407, ge=0)


class CaptionerConfig(_Part):
    """Interaction encoder and text decoder.

    Attributes:
        layers: Layers of the text decoder; the interaction encoder has as many as the recognition decoder.
        heads: Attention heads of both.
        inner: Inner width of the text decoder's feed-forward.
        vocabulary: Number of word pieces.
        positions: Longest caption and longest tag list, in word pieces.
        picture_memory: Whether the text decoder looks at the picture's tokens beside the fused tags. Tag2Text's
            does not; a small model gains by it, and a caption without tags becomes possible.
        dropout: In training.
    """

    layers: int = 3
    heads: int = 4
    inner: int = 1024
    vocabulary: int = 0
    positions: int = 48
    picture_memory: bool = True
    dropout: float = 0.1


class DecodingConfig(_Part):
    """Defaults of caption generation; lengths count the start token."""

    num_beams: int = 3
    max_length: int = 24
    min_length: int = 6
    length_penalty: float = 1.0
    repetition_penalty: float = 1.0


class ModelConfig(_Part):
    """A whole model.

    Attributes:
        format: Layout version of the directory.
        family: ``lite``, ``tag2text``, ``ram`` or ``ram_plus``.
        name: What the model is called in results and model cards.
        width: Width of features, queries and captioner.
        class_threshold: Probability from which on a class of the image encoder's own classifier counts as found.
        score_slope: Factor on log-odds, after a tag's shift, that makes scores probabilities.
        open_shift: Shift of categories outside the vocabulary.
        training_pictures: Number that a tag's support is a part of.
        default_threshold: For tags without one of their own.
        open_threshold: For categories outside the vocabulary, whose scores run lower.
        files: SHA-256 of every other file of the directory.
    """

    format: int = FORMAT_VERSION
    family: Literal["lite", "tag2text", "ram", "ram_plus"] = "lite"
    name: str = "lite"
    width: int = 256
    image_encoder: ImageEncoderConfig = Field(default_factory=ImageEncoderConfig)
    recognition: RecognitionConfig = Field(default_factory=RecognitionConfig)
    labels: LabelQueryConfig = Field(default_factory=LabelQueryConfig)
    captioner: CaptionerConfig | None = Field(default_factory=CaptionerConfig)
    decoding: DecodingConfig = Field(default_factory=DecodingConfig)
    class_threshold: float = 0.4
    score_slope: float = 1.0
    open_shift: float = 0.0
    training_pictures: int = 0
    default_threshold: float = 0.5
    open_threshold: float = 0.5
    files: dict[str, str] = Field(default_factory=dict)
