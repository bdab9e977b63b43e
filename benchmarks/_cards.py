"""Draw pictures with their tags and captions side by side."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from PIL import Image, ImageDraw, ImageFont, ImageOps

from anytag.recognition import TagKind

#: Sizes in pixels, doubled for high-resolution screens.
_COLUMNS, _WIDTH, _HEIGHT, _GAP, _LINE = 4, 480, 320, 28, 32
_PAPER, _INK = "#ffffff", "#1f2328"
_CHIPS: dict[TagKind, str] = {"object": "#ddf4ff", "scene": "#dafbe1", "attribute": "#fff8c5", "action": "#fbefff"}

#: Text of a chip, and the kind of its tag.
Chip = tuple[str, TagKind]

_Font = ImageFont.FreeTypeFont | ImageFont.ImageFont


def card(picture: Image.Image, text: str, chips: Sequence[Chip], whole: bool = False) -> Image.Image:
    """A card: a picture above a text and chips.

    Args:
        picture: Upright.
        text: Wrapped.
        chips: Rows of chips.
        whole: Show the whole picture instead of filling the frame.
    """
    font, small = ImageFont.load_default(25), ImageFont.load_default(21)
    lines, rows = _wrapped(text, font), list(_rows_of_chips(chips, small))
    made = Image.new("RGB", (_WIDTH, _HEIGHT + 16 + len(lines) * _LINE + 8 + len(rows) * (_LINE + 8)), _PAPER)
    fit = ImageOps.pad if whole else ImageOps.fit
    made.paste(fit(picture.convert("RGB"), (_WIDTH, _HEIGHT)))
    draw, top = ImageDraw.Draw(made), _HEIGHT + 16
    for line in lines:
        draw.text((0, top), line, _INK, font)
        top += _LINE
    top += 8
    for row in rows:
        for left, width, (label, kind) in row:
            draw.rounded_rectangle((left, top, left + width, top + _LINE), 8, _CHIPS[kind])
            draw.text((left + 10, top + _LINE / 2), label, _INK, small, anchor="lm")
        top += _LINE + 8
    return made


def sheet(cards: Sequence[Image.Image]) -> Image.Image:
    """Arrange cards in rows."""
    rows = [cards[start : start + _COLUMNS] for start in range(0, len(cards), _COLUMNS)]
    heights = [max(one.height for one in row) for row in rows]
    size = (_COLUMNS * _WIDTH + (_COLUMNS + 1) * _GAP, sum(heights) + (len(rows) + 1) * _GAP)
    made, top = Image.new("RGB", size, _PAPER), _GAP
    for row, height in zip(rows, heights, strict=True):
        for column, one in enumerate(row):
            made.paste(one, (_GAP + column * (_WIDTH + _GAP), top))
        top += height + _GAP
    return made


def _wrapped(text: str, font: _Font) -> list[str]:
    """Lines no wider than a card."""
    lines: list[str] = []
    for word in text.split():
        if lines and font.getlength(f"{lines[-1]} {word}") <= _WIDTH:
            lines[-1] += f" {word}"
        else:
            lines.append(word)
    return lines


def _rows_of_chips(chips: Sequence[Chip], font: _Font) -> Iterator[list[tuple[int, int, Chip]]]:
    """Left edge and width of every chip, row by row."""
    row: list[tuple[int, int, Chip]] = []
    left = 0
    for chip in chips:
        width = int(font.getlength(chip[0])) + 20
        if row and left + width > _WIDTH:
            yield row
            row, left = [], 0
        row.append((left, width, chip))
        left += width + 8
    if row:
        yield row
