"""NoCaps and Flickr: captions for captioning and retrieval."""

from __future__ import annotations

from anytag.evaluation.benchmarks.coco import caption_entry

_BLIP = "storage.googleapis.com/sfr-vision-language-research/datasets"

NOCAPS = caption_entry(
    "nocaps",
    "NoCaps (validation)",
    "captioning",
    ("nocaps_val_4500_captions.json", "nocaps_val.json"),
    4_500,
    "nocaps_val_4500_captions.json (nocaps.org), which has ten captions a picture; its pictures",
)
FLICKR_30K = caption_entry(
    "flickr30k-retrieval",
    "Flickr30k retrieval (1K)",
    "retrieval",
    ("flickr30k_test.json", "dataset_flickr30k.json"),
    1_000,
    f"flickr30k_test.json ({_BLIP}), or Karpathy's dataset_flickr30k.json; Flickr30k's pictures",
)
FLICKR_30K_CAPTIONS = caption_entry(
    "flickr30k-captions",
    "Flickr30k captions (1K)",
    "captioning",
    ("flickr30k_test.json", "dataset_flickr30k.json"),
    1_000,
    f"flickr30k_test.json ({_BLIP}), or Karpathy's dataset_flickr30k.json; Flickr30k's pictures",
)
FLICKR_8K = caption_entry(
    "flickr8k-captions",
    "Flickr8k captions (1K)",
    "captioning",
    ("dataset_flickr8k.json",),
    1_000,
    "Karpathy's dataset_flickr8k.json; Flickr8k's pictures",
)
