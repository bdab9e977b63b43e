"""Official checkpoints of Tag2Text, RAM and RAM++, and the lists that belong to them.

They are in the authors' repositories on Hugging Face, and in their code's repository at its last commit, as listed in
the README of https://github.com/xinyu1205/recognize-anything.

SHA-256 and length are pinned if several independent public sources agree on them, or one attributes them to the
publisher. Otherwise :func:`resolve` counts the lines of a list. To look one up, ask the hub::

    curl -sI https://huggingface.co/REPOSITORY/resolve/main/FILE | grep -i x-linked    # SHA-256 (etag) and length

or, for the lists, download them at :data:`COMMIT` and run ``sha256sum``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from anytag.checkpoints.downloads import download, is_complete
from anytag.errors import UsageError
from anytag.foundations.http import HUB, DownloadError

#: The commit of the official code that this project was compared with.
COMMIT = "7cb804a8609e9f4b1a50b7f31436d2df40bb9481"

_LISTS = f"https://raw.githubusercontent.com/xinyu1205/recognize-anything/{COMMIT}/ram/data"
_PLUS = f"{HUB}/xinyu1205/recognize-anything-plus-model/resolve/main"
#: For RAM and Tag2Text: the demo that the README links first, then the authors' model repository.
_BASE = (
    f"{HUB}/spaces/xinyu1205/Recognize_Anything-Tag2Text/resolve/main",
    f"{HUB}/xinyu1205/recognize_anything_model/resolve/main",
)


@dataclass(frozen=True)
class OfficialFile:
    """An official file.

    Attributes:
        role: ``checkpoint``, ``tags``, ``tags_zh`` or ``thresholds``.
        homes: URLs in order of preference.
        about: Approximate length in bytes, for display.
        size: Exact length in bytes, if published.
        sha256: Hexadecimal SHA-256, if published.
    """

    role: str
    homes: tuple[str, ...]
    about: int
    size: int | None = None
    sha256: str | None = None
    lines: int | None = None

    @property
    def name(self) -> str:
        return self.homes[0].rpartition("/")[2]


@dataclass(frozen=True)
class OfficialModel:
    """An official model.

    Attributes:
        name: Name for ``anytag pull``, and the family.
        title: The authors' name for it.
    """

    name: str
    title: str
    summary: str
    files: tuple[OfficialFile, ...]

    @property
    def about(self) -> int:
        """Approximate download in bytes."""
        return sum(file.about for file in self.files)


# Line counts are those of the official files at COMMIT. No published SHA-256 of these lists was found.
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
                # No thresholds or Chinese names: the official code sets 0.68 for all but three tags.
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
                    # One public list has 5,625,634,877 bytes, but another length in it is wrong, so it is not pinned.
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

#: Receives the file, bytes received, total bytes and bytes per second.
FileReport = Callable[[OfficialFile, int, int | None, float], None]


def find_official(name: str) -> OfficialModel:
    """Find a model by name.

    Raises:
        UsageError: If there is none.
    """
    if (model := MODELS.get(name)) is None:
        raise UsageError(f"no official model is called {name!r}; there are {', '.join(MODELS)}")
    return model


def refuse_clip(family: str) -> None:
    """Raise :class:`UsageError` for a family that does not use CLIP."""
    if family == "tag2text":
        raise UsageError("Tag2Text only knows its own tags and does not use CLIP; leave it out")


def resolve(
    name: str,
    cache_dir: Path,
    offline: bool = False,
    base_urls: Mapping[str, str] | None = None,
    *,
    report: FileReport = lambda file, done, total, rate: None,
) -> dict[str, Path]:
    """Download the files of a model, unless they exist.

    Args:
        cache_dir: Folder for the files, under their official names.
        base_urls: Replacements for prefixes of URLs, such as ``{"https://huggingface.co": mirror}``.
        report: Called about ten times per second during downloads.

    Returns:
        Paths by role.

    Raises:
        UsageError: If there is no such model, or a file is missing or not the official one in offline mode.
        DownloadError: If a file is not available or wrong.
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
    for number, home in enumerate(file.homes, 1):
        try:
            download(
                _rebased(home, base_urls), target, size=file.size, sha256=file.sha256, report=partial(report, file)
            )
            break
        except DownloadError as error:
            # Gone, renamed or closed: the next one may have it. Other errors would recur there.
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
    """What is wrong with a list without a pinned SHA-256; ``None`` if nothing is."""
    if file.lines is None:
        return None
    try:
        lines = len(path.read_text(encoding="utf-8").splitlines())
    except UnicodeDecodeError:
        return "it is not text in UTF-8"
    return None if lines == file.lines else f"it has {lines:,} lines, expected {file.lines:,}"
