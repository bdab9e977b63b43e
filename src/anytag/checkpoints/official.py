"""The checkpoints that the authors of Tag2Text, RAM and RAM++ published, with all that belongs to them.

Homes: the authors' repositories on Hugging Face, and their code's repository at its last commit. Every home is in the
README of https://github.com/xinyu1205/recognize-anything.

SHA-256 and length are pinned where several independent public sources agree on them or one names them as the
publisher's. Where they are missing, :func:`resolve` counts the lines of a list instead. To fill one in, ask the hub::

    curl -sI https://huggingface.co/REPOSITORY/resolve/main/FILE | grep -i x-linked    # SHA-256 (etag) and length

or, for the lists, fetch them at :data:`COMMIT` and run ``sha256sum``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from anytag.checkpoints.downloads import download, is_complete
from anytag.errors import UsageError
from anytag.foundations.http import HUB, DownloadError

#: The commit of the official code that everything here was compared with.
COMMIT = "7cb804a8609e9f4b1a50b7f31436d2df40bb9481"

_LISTS = f"https://raw.githubusercontent.com/xinyu1205/recognize-anything/{COMMIT}/ram/data"
_PLUS = f"{HUB}/xinyu1205/recognize-anything-plus-model/resolve/main"
#: RAM and Tag2Text: the demonstration that the README links first, then the authors' model repository.
_BASE = (
    f"{HUB}/spaces/xinyu1205/Recognize_Anything-Tag2Text/resolve/main",
    f"{HUB}/xinyu1205/recognize_anything_model/resolve/main",
)


@dataclass(frozen=True)
class OfficialFile:
    """An official file.

    Attributes:
        role: What it is for: ``checkpoint``, ``tags``, ``tags_zh`` or ``thresholds``.
        homes: Addresses, the best first; the next is asked where one does not have it.
        about: Length in bytes, roughly; for people.
        size: Length in bytes, exactly, if published.
        sha256: SHA-256, hexadecimal, if published.
        lines: Number of lines of a list.
    """

    role: str
    homes: tuple[str, ...]
    about: int
    size: int | None = None
    sha256: str | None = None
    lines: int | None = None

    @property
    def name(self) -> str:
        """File name."""
        return self.homes[0].rpartition("/")[2]


@dataclass(frozen=True)
class OfficialModel:
    """An official model.

    Attributes:
        name: What ``anytag pull`` calls it; also the family's name.
        title: What its authors call it.
        summary: What it is, in a line.
        files: Its files.
    """

    name: str
    title: str
    summary: str
    files: tuple[OfficialFile, ...]

    @property
    def about(self) -> int:
        """Bytes to fetch for conversion, roughly."""
        return sum(file.about for file in self.files)


# Line counts: counted in the official files at COMMIT. No SHA-256 of these lists was found in public.
_RAM_LISTS = (
    OfficialFile("tags", (f"{_LISTS}/ram_tag_list.txt",), about=42_000, lines=4585),
    OfficialFile("tags_zh", (f"{_LISTS}/ram_tag_list_chinese.txt",), about=50_000, lines=4585),
    OfficialFile("thresholds", (f"{_LISTS}/ram_tag_list_threshold.txt",), about=22_000, lines=4585),
)

MODELS: dict[str, OfficialModel] = {
    model.name: model
    for model in (
        OfficialModel(
            "tag2text",
            "Tag2Text",
            "3,429 tags and captions guided by them; Swin-B",
            (
                OfficialFile(
                    "checkpoint",
                    tuple(f"{home}/tag2text_swin_14m.pth" for home in _BASE),
                    about=4_478_705_095,
                    size=4_478_705_095,
                    sha256="4ce96f0ce98f940a6680d567f66a38ccc9ca8c4e638e5f5c5c2e881a0e3502ac",
                ),
                # Neither thresholds nor Chinese names: the official code has 0.68 for all but three tags, in its code.
                OfficialFile("tags", (f"{_LISTS}/tag2text_ori_tag_list.txt",), about=30_000, lines=3429),
            ),
        ),
        OfficialModel(
            "ram",
            "RAM",
            "4,585 tags in English and Chinese, or categories of your own; Swin-L",
            (
                OfficialFile(
                    "checkpoint",
                    tuple(f"{home}/ram_swin_large_14m.pth" for home in _BASE),
                    # One public list says 5,625,634,877 bytes; as it misprints its neighbor's, it is not pinned.
                    about=5_625_635_000,
                    sha256="15c729c793af28b9d107c69f85836a1356d76ea830d4714699fb62e55fcc08ed",
                ),
                *_RAM_LISTS,
            ),
        ),
        OfficialModel(
            "ram_plus",
            "RAM++",
            "4,585 tags in English and Chinese, or described categories of your own; Swin-L",
            (
                OfficialFile(
                    "checkpoint",
                    (f"{_PLUS}/ram_plus_swin_large_14m.pth",),
                    about=3_010_210_801,
                    size=3_010_210_801,
                    sha256="497c178836ba66698ca226c7895317e6e800034be986452dbd2593298d50e87d",
                ),
                *_RAM_LISTS,
            ),
        ),
    )
}

#: Receives the file that is on its way, bytes done, bytes in all and bytes a second.
FileReport = Callable[[OfficialFile, int, int | None, float], None]


def find_official(name: str) -> OfficialModel:
    """The model of that name.

    Raises:
        UsageError: If there is none.
    """
    if (model := MODELS.get(name)) is None:
        raise UsageError(f"no official model is called {name!r}; there are {', '.join(MODELS)}")
    return model


def refuse_clip(family: str) -> None:
    """Let CLIP be given only to models that read texts.

    Raises:
        UsageError: If a family has no use for it.
    """
    if family == "tag2text":
        raise UsageError("Tag2Text knows its own tags only, so it has no use for CLIP; leave it out")


def resolve(
    name: str,
    cache_dir: Path,
    offline: bool = False,
    base_urls: Mapping[str, str] | None = None,
    *,
    report: FileReport = lambda file, done, total, rate: None,
) -> dict[str, Path]:
    """Have a model's files, fetching what is not there.

    Args:
        name: A name in :data:`MODELS`.
        cache_dir: Folder for the files, under their official names.
        offline: Use what is in the folder, and never the network.
        base_urls: Other addresses for beginnings of addresses, such as ``{"https://huggingface.co": mirror}``.
        report: Called about ten times a second while a file is on its way.

    Returns:
        Role to path.

    Raises:
        UsageError: If there is no such model, or offline and a file is missing or not the official one.
        DownloadError: If a file is not available or is not what it should be.
    """
    files = list(find_official(name).files)
    paths = {file.role: cache_dir / file.name for file in files}
    if offline:
        _require(files, cache_dir)
        return paths
    for file in files:
        _fetch(file, paths[file.role], base_urls or {}, report)
    return paths


def _fetch(file: OfficialFile, target: Path, base_urls: Mapping[str, str], report: FileReport) -> None:
    def tell(done: int, total: int | None, rate: float) -> None:
        report(file, done, total, rate)

    for number, home in enumerate(file.homes, 1):
        try:
            download(_rebased(home, base_urls), target, size=file.size, sha256=file.sha256, report=tell)
            break
        except DownloadError as error:
            # Gone, renamed or closed: the next home may have it. Everything else would be no better there.
            if error.status not in (401, 403, 404, 410) or number == len(file.homes):
                raise
    if (fault := _fault(file, target)) is not None:
        target.unlink()
        raise DownloadError(f"{file.homes[0]}: {fault}; it is deleted, try again")


def _rebased(url: str, base_urls: Mapping[str, str]) -> str:
    for base, other in base_urls.items():
        if url.startswith(base.rstrip("/") + "/"):
            return other.rstrip("/") + url[len(base.rstrip("/")) :]
    return url


def _require(files: list[OfficialFile], folder: Path) -> None:
    faults = []
    for file in files:
        path = folder / file.name
        if not path.is_file():
            faults.append(f"{path}: missing; it is published at {file.homes[0]}")
        elif not is_complete(path, file.size, file.sha256):
            faults.append(f"{path}: not the official file (its length or SHA-256 differs); fetch it again")
        elif (fault := _fault(file, path)) is not None:
            faults.append(f"{path}: {fault}; fetch it again")
    if faults:
        raise UsageError(f"offline, and not all files are there: {'; '.join(faults)}")


def _fault(file: OfficialFile, path: Path) -> str | None:
    """What is wrong with a list that has no pinned SHA-256."""
    if file.lines is None:
        return None
    try:
        lines = len(path.read_text(encoding="utf-8").splitlines())
    except UnicodeDecodeError:
        return "it is not text in UTF-8"
    return None if lines == file.lines else f"it has {lines:,} lines, expected {file.lines:,}"
