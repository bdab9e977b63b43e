"""A toy model whose workers die."""

from __future__ import annotations

import os
import signal
from pathlib import Path

from fixtures_toy import ToyBackend

from anytag.inference.recognizer import Recognizer
from anytag.language.tokenizers.tokenizer import CaptionTokenizer
from anytag.model.directory import ModelDirectory


class DyingBackend(ToyBackend):
    """Kills the process that sees a picture with it, as often as there are marks missing in a folder.

    Args:
        only: Of this color; ``None``: any picture.
    """

    def __init__(self, directory: ModelDirectory, tokenizer: CaptionTokenizer, marks: Path, deaths: int, only=None):
        super().__init__(directory, tokenizer)
        self.marks, self.deaths, self.only = marks, deaths, only

    def encode(self, pixels):
        if self.only is not None and not (pixels == self.only).all(-1).any():
            return super().encode(pixels)
        for number in range(self.deaths):
            try:
                (self.marks / f"killed {number}").touch(exist_ok=False)
            except FileExistsError:
                continue
            os.kill(os.getpid(), signal.SIGKILL)
        return super().encode(pixels)


def dying(recognizer: Recognizer, marks: Path, deaths: int = 1, only=None) -> Recognizer:
    """The toy recognizer; the first processes that use it are killed."""
    tokenizer = recognizer.backend.tokenizer
    backend = DyingBackend(recognizer.directory, tokenizer, marks, deaths, only)
    return Recognizer(recognizer.directory, backend, 2, workers=1, recognize_blank=True)
