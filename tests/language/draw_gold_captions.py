"""Draw the captions of the gold set: ``python draw_gold_captions.py FOLDER > drawn.jsonl``.

FOLDER holds ``coco_more.txt.gz``, ``coco_val2017.txt.gz`` and ``flickr30k.txt.gz``, a caption per line. All lines go
into one urn, so that the files weigh as they come; the seed is fixed. The first half drawn is for development, the
second is held out.
"""

import gzip
import json
import random
import sys
from pathlib import Path

SEED = 20240
SIZE = 200


def main(folder: Path) -> None:
    captions: list[str] = []
    for name in ("coco_more", "coco_val2017", "flickr30k"):
        with gzip.open(folder / f"{name}.txt.gz", "rt", encoding="utf-8") as lines:
            captions.extend(line.strip() for line in lines)
    for place, caption in enumerate(random.Random(SEED).sample(captions, SIZE)):
        split = "development" if place < SIZE // 2 else "held_out"
        print(json.dumps({"caption": caption, "split": split}, ensure_ascii=False))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
