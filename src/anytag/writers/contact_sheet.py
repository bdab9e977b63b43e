"""Contact sheets: self-contained HTML files with thumbnails, tags and captions, which can be filtered by tag."""

from __future__ import annotations

import base64
from collections import Counter
from collections.abc import Iterable, Sequence
from html import escape
from importlib.resources import files
from itertools import islice
from pathlib import Path
from string import Template

from anytag.errors import PictureError
from anytag.foundations.atomic_files import write_text
from anytag.foundations.wording import counted
from anytag.pictures.thumbnails import thumbnail
from anytag.recognition import Failure
from anytag.writers.records import PictureRecord
from anytag.writers.tables import printable_path

#: The most frequent tags, offered as filters above the pictures.
_FACETS = 60


def write_contact_sheet(
    records: Iterable[PictureRecord], target: Path, failures: Sequence[Failure] = (), page_size: int = 1000
) -> None:
    """Write ``contact-sheet.html``, and ``contact-sheet-2.html`` … for more than ``page_size`` pictures.

    Args:
        records: The pictures, read once.
        target: The first page; pages of an earlier, longer sheet are deleted.
        failures: Listed at the end of the last page.
        page_size: Pictures per page, which the browser holds in memory.
    """
    template = Template((files("anytag.writers") / "data" / "contact_sheet.html").read_text(encoding="utf-8"))
    waiting = iter(records)
    page, number = list(islice(waiting, page_size)), 1
    written = set()
    while page or number == 1:
        following = list(islice(waiting, page_size))
        path = _page_path(target, number)
        write_text(path, template.substitute(_fields(page, number, not following, target, failures)))
        written.add(path)
        page, number = following, number + 1
    for stale in target.parent.glob(f"{target.stem}-*{target.suffix}"):
        if stale not in written and stale.stem.removeprefix(f"{target.stem}-").isdigit():
            stale.unlink()


def _page_path(target: Path, number: int) -> Path:
    return target if number == 1 else target.with_stem(f"{target.stem}-{number}")


def _fields(
    page: Sequence[PictureRecord], number: int, last: bool, target: Path, failures: Sequence[Failure]
) -> dict[str, str]:
    """Return the values of the template's fields."""
    counts = Counter(tag.name for record in page for tag in record.tags)
    links = []
    if number > 1:
        links.append(f'<a href="{escape(_page_path(target, number - 1).name)}">previous page</a>')
    if not last:
        links.append(f'<a href="{escape(_page_path(target, number + 1).name)}">next page</a>')
    models = sorted({f"{record.provenance.model} {record.provenance.version}" for record in page})
    parts = [counted(len(page), "picture")]
    parts += [f"recognized by {escape(model)}" for model in models]
    if failures:
        count = f"{len(failures):,} not recognized"
        parts.append(f'<a href="#failures">{count}</a>' if last else f"{count} (on the last page)")
    return {
        "title": "anytag contact sheet" + (f", page {number}" if number > 1 or not last else ""),
        "summary": " · ".join(parts),
        "pages": " ".join(links),
        "facets": "".join(_chip(name, f"{count:,}") for name, count in counts.most_common(_FACETS)),
        "pictures": "\n".join(map(_figure, page)),
        "failures": _failure_list(failures) if last and failures else "",
    }


def _figure(record: PictureRecord) -> str:
    caption = record.recognition.caption
    name = printable_path(record.path)
    # The separator keeps a word of the filter from matching across two tags.
    words = "|".join([*(tag.name for tag in record.tags), caption or "", name]).lower()
    chips = "".join(_chip(tag.name, f"{tag.score:.2f}") for tag in record.tags) or '<span class="soft">no tags</span>'
    text = f"<p>{escape(caption)}</p>" if caption else ""
    return (
        f'<figure data-words="{escape(words)}">{_image(record, caption or name)}<figcaption>'
        f'{_name(name)}{text}<div class="tags">{chips}</div></figcaption></figure>'
    )


def _name(path: str) -> str:
    """Return a file's name, with its folder in gray below."""
    folder, slash, name = path.rpartition("/")
    below = f'<br><span class="soft">{escape(folder or slash)}</span>' if slash else ""
    return f'<div><span class="name">{escape(name)}</span>{below}</div>'


def _chip(name: str, detail: str) -> str:
    return f'<button type="button" data-tag="{escape(name.lower())}">{escape(name)} <span>{detail}</span></button>'


def _image(record: PictureRecord, alt: str) -> str:
    """Return the thumbnail as an inline image, or a note in its place."""
    if record.thumbnail is None and record.in_archive:
        return f'<p class="soft">{escape(alt)}</p>'
    try:
        small = thumbnail(record.path) if record.thumbnail is None else record.thumbnail
    except PictureError:
        return '<p class="soft">the picture cannot be read anymore</p>'
    data = base64.b64encode(small).decode("ascii")
    return f'<img loading="lazy" src="data:image/jpeg;base64,{data}" alt="{escape(alt)}">'


def _failure_list(failures: Sequence[Failure]) -> str:
    items = "".join(
        f"<li><code>{escape(failure.kind)}</code> {escape(printable_path(failure.message))}</li>"
        for failure in failures
    )
    return f'<section id="failures"><h2>Not recognized: {len(failures):,}</h2><ul>{items}</ul></section>'
