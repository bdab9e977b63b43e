"""A contact sheet: one HTML file with small pictures, tags and captions, to filter by tag; it needs nothing else."""

from __future__ import annotations

import base64
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
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
from anytag.writers.tables import shown

#: Tags offered above the pictures, at the most.
_FACETS = 60


@dataclass(frozen=True)
class ContactSheet:
    """Writes ``contact-sheet.html``, and ``contact-sheet-2.html`` … where there are many pictures.

    Attributes:
        failures: What could not be read; listed at the end of the last page.
        pictures_a_page: More go to the next page: a browser must hold them all.
    """

    failures: tuple[Failure, ...] = ()
    pictures_a_page: int = 1000
    name: str = "html"
    filename: str = "contact-sheet.html"

    def write(self, records: Iterable[PictureRecord], target: Path) -> None:
        """See :class:`~anytag.writers.tables.TableWriter`."""
        template = Template((files("anytag.writers") / "data" / "contact_sheet.html").read_text(encoding="utf-8"))
        pages = _pages(iter(records), self.pictures_a_page)
        number, page = 1, next(pages, [])
        written = set()
        while True:
            after = next(pages, None)
            path = _page_path(target, number)
            write_text(path, template.substitute(self._fields(page, number, after is None, target)))
            written.add(path)
            if after is None:
                break
            number, page = number + 1, after
        for stale in target.parent.glob(f"{target.stem}-*{target.suffix}"):
            if stale not in written and stale.stem.removeprefix(f"{target.stem}-").isdigit():
                stale.unlink()

    def _fields(self, page: Sequence[PictureRecord], number: int, last: bool, target: Path) -> dict[str, str]:
        counts = Counter(tag.name for record in page for tag in record.tags)
        links = []
        if number > 1:
            links.append(f'<a href="{escape(_page_path(target, number - 1).name)}">previous page</a>')
        if not last:
            links.append(f'<a href="{escape(_page_path(target, number + 1).name)}">next page</a>')
        models = sorted({f"{record.provenance.model} {record.provenance.version}" for record in page})
        parts = [counted(len(page), "picture")]
        parts += [f"recognized by {escape(model)}" for model in models]
        if self.failures:
            count = f"{len(self.failures):,} not recognized"
            parts.append(f'<a href="#failures">{count}</a>' if last else f"{count} (on the last page)")
        return {
            "title": "anytag contact sheet" + (f", page {number}" if number > 1 or not last else ""),
            "summary": " · ".join(parts),
            "pages": " ".join(links),
            "facets": "".join(_chip(name, f"{count:,}") for name, count in counts.most_common(_FACETS)),
            "pictures": "\n".join(map(_figure, page)),
            "failures": _failures(self.failures) if last else "",
        }


def _pages(records: Iterator[PictureRecord], size: int) -> Iterator[list[PictureRecord]]:
    while page := list(islice(records, size)):
        yield page


def _page_path(target: Path, number: int) -> Path:
    return target if number == 1 else target.with_stem(f"{target.stem}-{number}")


def _figure(record: PictureRecord) -> str:
    caption = record.recognition.caption
    name = shown(record.path)
    # Bars keep a word of the filter from matching across two tags.
    words = "|".join([*(tag.name for tag in record.tags), caption or "", name]).lower()
    chips = "".join(_chip(tag.name, f"{tag.score:.2f}") for tag in record.tags) or '<span class="soft">no tags</span>'
    said = f"<p>{escape(caption)}</p>" if caption else ""
    return (
        f'<figure data-words="{escape(words)}">{_thumbnail(record, caption or name)}<figcaption>'
        f'{_name(name)}{said}<div class="tags">{chips}</div></figcaption></figure>'
    )


def _name(path: str) -> str:
    """A file's name, and below it, less loud, its folder."""
    folder, slash, name = path.rpartition("/")
    below = f'<br><span class="soft">{escape(folder or slash)}</span>' if slash else ""
    return f'<div><span class="name">{escape(name)}</span>{below}</div>'


def _chip(name: str, detail: str) -> str:
    return f'<button type="button" data-tag="{escape(name.lower())}">{escape(name)} <span>{detail}</span></button>'


def _thumbnail(record: PictureRecord, alt: str) -> str:
    """The picture, small, inside the page."""
    try:
        small = record.thumbnail
        if small is None:
            if record.in_archive:
                return f'<p class="soft">{escape(alt)}</p>'
            small = thumbnail(record.path)
    except PictureError:
        return '<p class="soft">the picture cannot be read anymore</p>'
    data = base64.b64encode(small).decode("ascii")
    return f'<img loading="lazy" src="data:image/jpeg;base64,{data}" alt="{escape(alt)}">'


def _failures(failures: Sequence[Failure]) -> str:
    if not failures:
        return ""
    items = "".join(
        f"<li><code>{escape(failure.kind)}</code> {escape(shown(failure.message))}</li>" for failure in failures
    )
    return f'<section id="failures"><h2>Not recognized: {len(failures):,}</h2><ul>{items}</ul></section>'
