"""What a run's data hold, for people who are about to train on them: a text, and a picture of some samples."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFont

from anytag.foundations.atomic_files import whole_file
from anytag.foundations.wording import counted
from anytag.model.vocabulary import TagVocabulary
from anytag.training.families.data_findings import SourceFindings

#: Tags that are listed as the most frequent and as the rarest.
_LISTED = 10

#: Sides of a shown sample, and the room for the words below it, in pixels.
_SIDE, _WORDS, _GAP = 256, 118, 12


@dataclass(frozen=True)
class Shown:
    """A sample as the network sees it.

    Attributes:
        pixels: ``[R, R, 3]``, 0 to 255, after augmentation.
        tags: Names of the tags that it teaches.
        caption: The caption that was drawn; empty if there is none.
    """

    pixels: npt.NDArray[np.uint8]
    tags: tuple[str, ...]
    caption: str = ""


def describe(findings: Sequence[SourceFindings], vocabulary: TagVocabulary, total: int | None) -> list[str]:
    """Lines about pictures, captions and tags of training data.

    Args:
        findings: What was found in each source.
        vocabulary: Names of tags.
        total: Samples there are; ``None``: nobody knows before they are read.
    """
    usable, distinct = sum(f.usable for f in findings), len(set().union(*(f.pictures for f in findings)))
    looked_at = sum(f.samples for f in findings)
    lines = [f"pictures: {looked_at:,}" if total is None or total == looked_at else f"pictures: {total:,}"]
    if total != looked_at:
        lines.append(f"looked at: {looked_at:,} of them, evenly spread; what follows is about these")
    repeated = usable - distinct
    lines.append(f"distinct: {distinct:,}" + (f" ({repeated:,} are there more than once)" if repeated else ""))
    if captions := sum(f.captions for f in findings):
        lines.append(f"captions: {captions:,}, {captions / max(1, usable):.1f} a picture")
    counts = np.array([count for f in findings for count in f.tag_counts])
    if not len(counts):
        return [*lines, "tags: no picture has any"]
    without = f"; {counted(usable - len(counts), 'picture')} without any" if usable > len(counts) else ""
    lines.append(
        f"tags a picture: {counts.mean():.1f} on average, {counts.min()} to {counts.max()}, median "
        f"{np.median(counts):g}{without}"
    )
    named: Counter[int] = Counter()
    for found in findings:
        named.update(found.tags)
    order = sorted(named, key=lambda id: (named[id], vocabulary[id].name))
    never = len(vocabulary) - len(named)
    absent = f"; {never:,} of the vocabulary's {len(vocabulary):,} are in no picture" if never else ""
    lines.append(f"most frequent tags: {_listed(order[::-1], named, vocabulary)}")
    lines.append(f"rarest tags: {_listed(order, named, vocabulary)}{absent}")
    return lines


def _listed(ids: Sequence[int], named: Counter[int], vocabulary: TagVocabulary) -> str:
    return ", ".join(f"{vocabulary[id].name} ({named[id]:,})" for id in ids[:_LISTED])


def draw_samples(samples: Sequence[Shown], path: Path) -> None:
    """Write a PNG of samples side by side, with their tags and captions below, whole or not at all."""
    width = _GAP + len(samples) * (_SIDE + _GAP)
    sheet = Image.new("RGB", (width, _SIDE + _WORDS + 2 * _GAP), "white")
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(14)
    for place, sample in enumerate(samples):
        left = _GAP + place * (_SIDE + _GAP)
        picture = Image.fromarray(sample.pixels)
        # Enlarged as it is, so that what small pictures lose is seen.
        sheet.paste(picture.resize((_SIDE, _SIDE), Image.Resampling.NEAREST), (left, _GAP))
        lines = _wrapped(", ".join(sample.tags) or "(no tags)", font, 4)
        lines += _wrapped(f"“{sample.caption}”", font, 6 - len(lines)) if sample.caption else []
        for number, line in enumerate(lines):
            draw.text((left, _GAP + _SIDE + 6 + 18 * number), line, fill="black", font=font)
    with whole_file(path) as part:
        sheet.save(part, format="PNG")


def _wrapped(text: str, font: ImageFont.FreeTypeFont | ImageFont.ImageFont, most: int) -> list[str]:
    """A text in lines as wide as a sample; what does not fit ends in dots."""
    lines, line = [], ""
    for word in text.split():
        longer = f"{line} {word}".strip()
        if line and font.getlength(longer) > _SIDE:
            lines.append(line)
            line = word
        else:
            line = longer
    lines.append(line)
    return lines if len(lines) <= most else [*lines[: most - 1], f"{lines[most - 1]} …"]
