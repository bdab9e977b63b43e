"""Rivals as `transformers` saves them, small enough for tests: their published layouts, random weights."""

from __future__ import annotations

from fixtures_clip import text_sizes, tokenizer_files
from fixtures_dino import save_grounding_dino
from fixtures_rivals import disturb, preprocessor, word_tokenizer
from transformers import (
    BertTokenizer,
    Blip2Config,
    Blip2ForConditionalGeneration,
    BlipConfig,
    CLIPConfig,
    CLIPModel,
    CLIPTokenizer,
    DetrConfig,
    DetrForObjectDetection,
    DetrImageProcessorPil,
    Florence2Config,
    Florence2ForConditionalGeneration,
    GroundingDinoImageProcessorPil,
    ResNetConfig,
    RTDetrConfig,
    RTDetrForObjectDetection,
    RTDetrImageProcessorPil,
    RTDetrResNetConfig,
    SiglipConfig,
    SiglipModel,
)

#: What the small tokenizers read.
WORDS = (
    "a", "the", "photo", "of", "picture", "dog", "hat", "there", "is", "in", "scene", "that", "shows", "one", "many",
    "close", "up", "bright", "dark",
)  # fmt: skip

_VISION = {
    "hidden_size": 16,
    "intermediate_size": 24,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "image_size": 16,
}


def save_clip(folder):
    pieces = tokenizer_files(folder)
    CLIPTokenizer(str(folder / "vocab.json"), str(folder / "merges.txt")).save_pretrained(folder)
    text = text_sizes(pieces, max_position_embeddings=77)
    config = CLIPConfig(projection_dim=10, text_config=text, vision_config={**_VISION, "patch_size": 8})
    disturb(CLIPModel(config)).save_pretrained(folder)
    preprocessor(folder, 16, crop=True)


def save_siglip(folder):
    size = word_tokenizer(folder, WORDS, wrapped=False)
    text = {**_VISION, "vocab_size": size, "max_position_embeddings": 8, "projection_size": 16, "pad_token_id": 0}
    text.pop("image_size")
    config = SiglipConfig(text_config=text, vision_config={**_VISION, "patch_size": 8})
    disturb(SiglipModel(config)).save_pretrained(folder)
    preprocessor(folder, 16, image_mean=[0.5] * 3, image_std=[0.5] * 3)


def save_siglip2(folder):
    """As google/siglip2-base-patch16-256: "siglip" by its config, texts in Gemma's 256,000 pieces."""
    word_tokenizer(folder, WORDS, wrapped=False)
    text = {"hidden_size": 4, "intermediate_size": 4, "num_hidden_layers": 1, "num_attention_heads": 1}
    config = SiglipConfig(
        text_config={**text, "vocab_size": 256_000, "max_position_embeddings": 64, "projection_size": 4},
        vision_config={**text, "image_size": 16, "patch_size": 8},
    )
    disturb(SiglipModel(config)).save_pretrained(folder)
    preprocessor(folder, 16, image_mean=[0.5] * 3, image_std=[0.5] * 3)


def save_blip(folder, cls):
    """`BlipForImageTextRetrieval` or `BlipForConditionalGeneration`."""
    words = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *WORDS, ".")
    (folder / "vocab.txt").write_text("\n".join(words))
    BertTokenizer(str(folder / "vocab.txt")).save_pretrained(folder)
    text = {
        **_VISION, "vocab_size": len(words) + 2, "max_position_embeddings": 40, "encoder_hidden_size": 16,
        "bos_token_id": len(words), "sep_token_id": 3, "eos_token_id": 3, "pad_token_id": 0, "projection_dim": 12,
    }  # fmt: skip
    text.pop("image_size")
    config = BlipConfig(text_config=text, vision_config={**_VISION, "patch_size": 8}, image_text_hidden_size=12)
    disturb(cls(config)).save_pretrained(folder)
    preprocessor(folder, 16)


def save_blip2(folder):
    size = word_tokenizer(folder, (*WORDS, "<image>"))
    config = Blip2Config(
        vision_config={**_VISION, "patch_size": 8},
        qformer_config={**_VISION, "vocab_size": size, "encoder_hidden_size": 16},
        text_config={
            "model_type": "opt", "vocab_size": size, "hidden_size": 16, "ffn_dim": 24, "num_hidden_layers": 2,
            "num_attention_heads": 2, "max_position_embeddings": 64, "word_embed_proj_dim": 16,
            "bos_token_id": 2, "eos_token_id": 3, "pad_token_id": 0,
        },
        num_query_tokens=4,
        image_token_index=size - 1,
    )  # fmt: skip
    disturb(Blip2ForConditionalGeneration(config)).save_pretrained(folder)
    preprocessor(folder, 16)


def save_florence2(folder):
    words = (*WORDS, "What", "does", "the", "image", "describe", "?")
    size = word_tokenizer(folder, (*dict.fromkeys(words), "<image>"))
    config = Florence2Config(
        vision_config={
            "depths": [1, 1], "embed_dim": [8, 16], "num_heads": [2, 2], "num_groups": [2, 2], "patch_size": [7, 3],
            "patch_stride": [4, 2], "patch_padding": [3, 1], "patch_prenorm": [False, True], "window_size": 2,
            "projection_dim": 16, "max_temporal_embeddings": 4, "max_position_embeddings": 10,
        },
        text_config={
            "vocab_size": size, "d_model": 16, "encoder_layers": 1, "decoder_layers": 1, "encoder_attention_heads": 2,
            "decoder_attention_heads": 2, "encoder_ffn_dim": 24, "decoder_ffn_dim": 24, "max_position_embeddings": 128,
            "bos_token_id": 2, "eos_token_id": 3, "pad_token_id": 0, "decoder_start_token_id": 3,
            "forced_bos_token_id": 2,
        },
        image_token_id=size - 1,
    )  # fmt: skip
    disturb(Florence2ForConditionalGeneration(config)).save_pretrained(folder)
    preprocessor(folder, 32)


def save_detr(folder):
    backbone = ResNetConfig(
        embedding_size=4,
        hidden_sizes=[4, 8, 8, 16],
        depths=[1, 1, 1, 1],
        layer_type="basic",
        out_features=["stage4"],
    )
    config = DetrConfig(
        use_timm_backbone=False, use_pretrained_backbone=False, backbone=None, backbone_config=backbone, d_model=16,
        encoder_layers=1, decoder_layers=1, encoder_attention_heads=2, decoder_attention_heads=2,
        encoder_ffn_dim=24, decoder_ffn_dim=24, num_queries=5, id2label={0: "N/A", 1: "dog", 2: "Stop sign"},
        label2id={"N/A": 0, "dog": 1, "Stop sign": 2},
    )  # fmt: skip
    disturb(DetrForObjectDetection(config)).save_pretrained(folder)
    DetrImageProcessorPil(size={"shortest_edge": 40, "longest_edge": 60}).save_pretrained(folder)


def save_rt_detr(folder):
    backbone = RTDetrResNetConfig(
        embedding_size=4, hidden_sizes=[4, 8, 8, 16], depths=[1, 1, 1, 1], layer_type="basic",
        out_features=["stage2", "stage3", "stage4"],
    )  # fmt: skip
    config = RTDetrConfig(
        backbone_config=backbone, encoder_hidden_dim=16, encoder_in_channels=[8, 8, 16], encoder_ffn_dim=24,
        encoder_attention_heads=2, d_model=16, decoder_in_channels=[16, 16, 16], decoder_ffn_dim=24,
        decoder_attention_heads=2, decoder_layers=2, num_queries=5, num_denoising=0,
        id2label={0: "dog", 1: "stop sign"}, label2id={"dog": 0, "stop sign": 1},
    )  # fmt: skip
    disturb(RTDetrForObjectDetection(config)).save_pretrained(folder)
    RTDetrImageProcessorPil(size={"height": 64, "width": 64}).save_pretrained(folder)


def save_dino(folder):
    save_grounding_dino(folder, longest_text=24)
    GroundingDinoImageProcessorPil(size={"shortest_edge": 64, "longest_edge": 96}).save_pretrained(folder)
