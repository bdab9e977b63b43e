"""Tag2Text, RAM and RAM++ as in their papers: pre-training on 4 or 14 million pictures, and all fine-tuning.

    torchrun --nproc-per-node 8 --no-python -- anytag train recipes/official.py:ram_14m --data DATA --run runs/ram-14m
    anytag train recipes/official.py:ram_14m_tagging --data DATA --run runs/ram-tags --set start=runs/ram-14m/model

DATA contains (for other places or kinds of sources, use ``--set sources=[…]``):

- ``coco_train_rmcocodev_ram.json``, ``vg_ram.json``, ``sbu_ram.json``, ``cc3m_train_ram.json``, the official lists,
  and the pictures at their ``image_path``; ``cc12m/*.tar``, WebDataset shards with captions. No tags were published for
  these: captions are parsed on the fly, or read through a manifest of ``anytag engine``
  (``{"path": "cc12m/*.tar", "manifest": "cc12m-cleaned"}``);
- ``ram_tag_list.txt``, and for RAM++ ``tag_descriptions.json``, both official;
- ``weights/``: Microsoft's ImageNet-22k Swin weights, ``bert-base-uncased`` and ``clip-vit-base-patch16`` as saved by
  ``transformers``.

The source of each number is next to it: section 4 of a paper, the authors' official settings (``configs/*.yaml``), or
BLIP's, which Tag2Text follows. Everything else is marked as our choice. In all recipes, our choices are bfloat16
autocast (where it is faster), no moving average, no decay of norms, biases and embeddings, and checkpoints every 1,000
steps. Adam's usual betas and unclipped gradients follow the official loop. Batch sizes count all GPUs together, 8 A100s
in the papers; with fewer, ``--set accumulate=N`` does the same in more time.
"""

from typing import Any

from anytag.model import families
from anytag.model.config import ModelConfig
from anytag.model.families import SwinSize
from anytag.nn.momentum import MomentumConfig
from anytag.pictures import CLIP
from anytag.training.engine.schedules import CosineSchedule, StepSchedule
from anytag.training.recipes.config import (
    RamConfig,
    RamPlusConfig,
    Tag2TextConfig,
    TeacherConfig,
    TrainingConfig,
    TrainingStage,
    VocabularyConfig,
)

#: COCO without the evaluation pictures, Visual Genome, SBU, Conceptual Captions (Tag2Text, Table 7).
COCO = "coco_train_rmcocodev_ram.json"
FOUR_MILLION = (COCO, "vg_ram.json", "sbu_ram.json", "cc3m_train_ram.json")
FOURTEEN_MILLION = (*FOUR_MILLION, {"path": "cc12m/*.tar", "index_folder": "index"})

_SWIN_WEIGHTS: dict[SwinSize, str] = {
    "base": "weights/swin_base_patch4_window7_224_22k.pth",
    "large": "weights/swin_large_patch4_window7_224_22k.pth",
}

#: CLIP ViT-B/16 embeds queries and RAM++'s captions, and is the teacher (RAM, section 3.2; RAM++, section 3.3).
_CLIP = TeacherConfig(clip="weights/clip-vit-base-patch16")

_RUN: dict[str, Any] = {
    "weight_decay": 0.05,  # Tag2Text, section 4.
    "betas": (0.9, 0.999),
    "gradient_clip": 0.0,
    "ema_decay": 0.0,
    "save_every": 1000,
    "log_every": 50,
    "validate_every": 5000,
    # The 4,585 tags of RAM. For Tag2Text's own list of 3,429, no annotations were published; the official code
    # trains Tag2Text with RAM's list, too.
    "vocabulary": VocabularyConfig(tags="ram_tag_list.txt"),
}


def _trained_on_clip_pixels(model: ModelConfig) -> ModelConfig:
    """Normalize pixels with CLIP's constants in training (official) and inference (there with other constants)."""
    mean, std = CLIP.of_bytes()
    encoder = model.image_encoder.model_copy(update={"mean": mean, "std": std})
    return model.model_copy(update={"image_encoder": encoder})


def _pretraining(name: str, model: ModelConfig, swin: SwinSize, epochs: float, **changes: Any) -> TrainingConfig:
    """Warm up to 1e-4 in 3,000 steps, then multiply the rate by 0.9 every epoch (Tag2Text and RAM++, section 4).

    The first and the lowest rate, 5e-7, are the official ones.
    """
    stage = TrainingStage(
        name="pre-training",
        epochs=epochs,
        learning_rate=1e-4,
        encoder_learning_rate=1e-4,
        schedule=StepSchedule(peak=1e-4, floor=5e-7, decay=0.9, warmup=3000, warmup_start=5e-7),
    )
    settings = {
        "name": name,
        "model": _trained_on_clip_pixels(model),
        "image_weights": _SWIN_WEIGHTS[swin],
        "text_weights": "weights/bert-base-uncased",  # Tag2Text, section 3.3.
        "stages": (stage,),
    }
    return TrainingConfig(**(_RUN | settings | changes))


def _fine_tuning(name: str, epochs: float, rate: float, **changes: Any) -> TrainingConfig:
    """384 px and a cosine schedule to 0 with one step per epoch (official and BLIP's)."""
    stage = TrainingStage(
        name="fine-tuning",
        epochs=epochs,
        learning_rate=rate,
        encoder_learning_rate=rate,
        schedule=CosineSchedule(peak=rate),
    )
    settings = {"name": name, "start": name.rpartition("-")[0], "resolution": 384, "stages": (stage,)}
    keep = {"vocabulary": VocabularyConfig()}
    return TrainingConfig(**(_RUN | keep | settings | {"sources": (COCO,)} | changes))


def tag2text_4m(sources: Any = FOUR_MILLION, name: str = "tag2text-4m") -> TrainingConfig:
    """Swin-B at 224 px, 20 epochs, batches of 960 (Tag2Text, section 4; official: 5 epochs, batches of 640).

    The targets are the tags of the sampled caption (official). Contrast and matching are BLIP's.
    """
    model = families.tag2text("base", 224)
    return _pretraining(
        name, model, "base", 20, sources=sources, objective=Tag2TextConfig(), tags="caption", batch_size=960
    )


def tag2text_14m() -> TrainingConfig:
    """The same, with Conceptual 12M (Tag2Text, Table 1)."""
    return tag2text_4m(FOURTEEN_MILLION, "tag2text-14m")


def tag2text_tagging() -> TrainingConfig:
    """On COCO, with the tags of all of a picture's captions (Tag2Text, section 4): 2 epochs, 5e-6, 288 (official)."""
    objective = Tag2TextConfig(contrast=0.0, matching=0.0)  # The released code trains captions, but never contrast.
    return _fine_tuning("tag2text-14m-tagging", 2, 5e-6, objective=objective, batch_size=288)


def tag2text_captions() -> TrainingConfig:
    """Captions guided by the caption's own tags or by predicted ones (Tag2Text, appendix D).

    5 epochs, 1e-5 and batches of 256 are BLIP's. Using both equally often, predicting at the threshold of inference,
    and training tagging, too, so that the recognition decoder's shared layers do not forget it, are our choice.
    """
    return _fine_tuning(
        "tag2text-14m-captions",
        5,
        1e-5,
        objective=Tag2TextConfig(contrast=0.0, matching=0.0),
        tags="caption",
        recognized_share=0.5,
        recognized_threshold=0.68,
        batch_size=256,
    )


def tag2text_retrieval() -> TrainingConfig:
    """Contrast and matching: 6 epochs, 1e-5 and batches of 256, soft labels after one epoch (BLIP's).

    Training tagging, too, is our choice: retrieval counts the tags that picture and text share.
    """
    return _fine_tuning(
        "tag2text-14m-retrieval",
        6,
        1e-5,
        objective=Tag2TextConfig(captioning=0.0),
        momentum=MomentumConfig(ramp_epochs=1.0),
        batch_size=256,
    )


def ram_4m() -> TrainingConfig:
    """Swin-B at 224 px (RAM, Table 2). 5 epochs (RAM, section 4); batches of 640 are official for Swin-B."""
    return _ram("ram-4m", "base", FOUR_MILLION, 640)


def ram_14m() -> TrainingConfig:
    """Swin-L (RAM, Table 2), with its official batch size of 416."""
    return _ram("ram-14m", "large", FOURTEEN_MILLION, 416)


def ram_14m_base() -> TrainingConfig:
    """Swin-B on 14 million (RAM, Table 5), to isolate the effect of the data; batches of 640 as for 4 million."""
    return _ram("ram-base-14m", "base", FOURTEEN_MILLION, 640)


def _ram(name: str, swin: SwinSize, sources: Any, batch_size: int) -> TrainingConfig:
    """Train on all of a picture's tags; captions are guided by their own tags (RAM, section 3.2)."""
    return _pretraining(
        name,
        families.ram(swin, 224),
        swin,
        5,
        sources=sources,
        objective=RamConfig(),
        tags="picture",
        teacher=_CLIP,
        batch_size=batch_size,
    )


def ram_4m_tagging() -> TrainingConfig:
    """On COCO (RAM, section 4): 2 epochs, 5e-6, batches of 288 (official for Swin-B)."""
    return _fine_tuning("ram-4m-tagging", 2, 5e-6, objective=RamConfig(), teacher=_CLIP, batch_size=288)


def ram_14m_tagging() -> TrainingConfig:
    """The same, with batches of 208 (official for Swin-L)."""
    return _fine_tuning("ram-14m-tagging", 2, 5e-6, objective=RamConfig(), teacher=_CLIP, batch_size=208)


def ram_plus_4m(sources: Any = FOUR_MILLION, name: str = "ram-plus-4m", swin: SwinSize = "base") -> TrainingConfig:
    """Swin-B at 224 px, 5 epochs, batches of 720 (RAM++, section 4); 51 descriptions per tag (section 3.3).

    Its losses are sums over the 90 pictures on each of 8 GPUs, except distillation, which is a mean.
    """
    teacher = _CLIP.model_copy(update={"descriptions": "tag_descriptions.json"})
    return _pretraining(
        name,
        families.ram_plus(swin, 224),
        swin,
        5,
        sources=sources,
        objective=RamPlusConfig(),
        tags="picture",
        teacher=teacher,
        batch_size=720,
        pictures_per_loss=90,
    )


def ram_plus_14m() -> TrainingConfig:
    """The same, with Conceptual 12M (RAM++, Table 2)."""
    return ram_plus_4m(FOURTEEN_MILLION, "ram-plus-14m")


def ram_plus_14m_large() -> TrainingConfig:
    """Swin-L, the size of the official checkpoint, with batches of 416; the paper's tables have Swin-B."""
    config = ram_plus_4m(FOURTEEN_MILLION, "ram-plus-large-14m", "large")
    return config.model_copy(update={"batch_size": 416, "pictures_per_loss": 52})


def ram_plus_tagging() -> TrainingConfig:
    """On COCO: 1 epoch, 5e-6 (RAM++, section 4; official: 2); batches of 288 are official for Swin-B."""
    return _fine_tuning(
        "ram-plus-14m-tagging",
        1,
        5e-6,
        objective=RamPlusConfig(),
        teacher=_CLIP,
        batch_size=288,
        pictures_per_loss=36,
    )


recipe = ram_plus_14m
