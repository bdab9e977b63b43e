"""A batch of the toy model as a script, for tests that kill it: ``toy_batch.py MODEL PHOTOS OUT``."""

from __future__ import annotations

import sys
from pathlib import Path

from fixtures_toy import ToyBackend

from anytag.inference.recognizer import Recognizer
from anytag.language.tokenizers.tokenizer import CaptionTokenizer
from anytag.library import batch as module
from anytag.library.run import BatchRun
from anytag.model.directory import ModelDirectory
from anytag.pictures import find_pictures
from anytag.writers.records import TagView
from anytag.writers.text_sidecars import TextSidecars
from anytag.writers.xmp_sidecars import XmpSidecars


def open_toy(model: Path) -> Recognizer:
    """The toy model; what runs with it commits after every batch of pictures."""
    module._COMMIT_AFTER = 0.0
    directory = ModelDirectory(model)
    backend = ToyBackend(directory, CaptionTokenizer.load(model / "tokenizer.json"))
    return Recognizer(directory, backend, 2, workers=1, recognize_blank=True)


def run(model: Path, photos: Path, out: Path) -> None:
    """Run or go on with a batch that commits after every batch of pictures."""
    recognizer = open_toy(model)
    view = TagView(recognizer.vocabulary)
    sidecars = [TextSidecars(existing="append"), XmpSidecars(view)]
    work = BatchRun(recognizer, {}, False, None, view, sidecars, ["jsonl", "csv"], out)
    with work.open() as known:
        work.scan(known, find_pictures([photos]), [str(photos)])
        print("scanned", flush=True)
        work.recognize(known, advance=lambda: print("done", flush=True))
        work.write(known)


if __name__ == "__main__":
    run(*map(Path, sys.argv[1:]))
