"""XMP and IPTC metadata inside pictures, written by exiftool, which knows every format's container.

XMP holds everything. The older IPTC block holds keywords and caption as well, if a picture has one or the user wants
one, so that the two agree (Metadata Working Group, Guidelines for Handling Image Metadata 2.0). The XMP packet records
what anytag added to it.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from anytag.errors import MissingProgramError, SidecarError
from anytag.writers import xmp
from anytag.writers.iptc import Added, Block
from anytag.writers.records import PictureRecord, TagView
from anytag.writers.sidecars import beside
from anytag.writers.xmp_sidecars import keywords
from anytag.writers.xmp_tree import parse_packet, storable

#: Formats in which programs look for an IPTC block.
_TIFF_FORMATS = frozenset({".tif", ".tiff", ".dng"})
_IPTC_FORMATS = frozenset({".jpg", ".jpeg", ".jpe", ".psd"}) | _TIFF_FORMATS

#: Separates the outputs of several commands in one run of exiftool.
_SEPARATOR = "--- 6f1f1c1e anytag 9b0d5a77 ---"

#: Suffix of exiftool's temporary copy. One left by a crash keeps exiftool from ever writing the picture again.
_COPY = "_exiftool_tmp"

#: Seconds without a write after which a copy counts as left over.
_STALE_AFTER = 5.0


def exiftool() -> str:
    """Return the path of exiftool.

    Raises:
        MissingProgramError: If it is not installed.
    """
    found = shutil.which("exiftool")
    if found is None:
        raise MissingProgramError(
            "exiftool is not installed, and only it writes into pictures safely. Install it (Debian: "
            "libimage-exiftool-perl, macOS: brew install exiftool), or write sidecars: --write xmp"
        )
    return found


@dataclass(frozen=True)
class EmbeddedMetadata:
    """Write tags and captions into pictures; pixels, other metadata and file times stay as they are.

    Attributes:
        view: Knows the tags' parents.
        iptc: Create an IPTC block in pictures without one, if the format has a place for it.
    """

    view: TagView
    iptc: bool = False
    name: str = "embed"

    def write(self, record: PictureRecord) -> bool:
        """Write into one picture; return whether it changed.

        Raises:
            SidecarError: If exiftool cannot write the picture.
            MissingProgramError: If exiftool is not installed.
        """
        picture = beside(record, Path(record.path).suffix)
        before = Metadata.read(picture)
        packet, path = before.packet or xmp.skeleton(), str(picture)
        ours, block = xmp.Ours.read(packet, path), Block(before.iptc)
        people = Block(block.without(ours.added, ours.caption) if block.readable else b"")
        refused = ours.refused
        if block.keywords:
            # Keywords that somebody removed from the block only, with an older program.
            there = {word.casefold() for word in block.keywords}
            refused |= {word.casefold() for word in ours.added.keywords} - there
        theirs = _storable(people)
        data, added = before.iptc, Added()
        if block.readable and (block.data or self._creates_iptc(picture)):
            described = xmp.has_description(parse_packet(xmp.remove(packet, path, theirs), path))
            names = [name for tag in record.tags if (name := storable(tag.name)).casefold() not in refused]
            caption = None if described else storable(record.recognition.caption or "")
            data, added = people.with_ours(names, caption or None)
        iptc = xmp.IptcContent(theirs, people.caption is not None, added)
        tags, caption = keywords(record, self.view), record.recognition.caption
        after = xmp.update(packet, path, tags, caption, record.provenance, refused, iptc)
        changed = (after, data) != (before.packet, before.iptc)
        if changed:
            before.replace(picture, after, data, first_digest=added.block)
        return changed

    def plan(self, pictures: Sequence[str]) -> Iterator[str]:
        """Yield what would be written into each picture.

        Raises:
            MissingProgramError: If exiftool is not installed.
        """
        have = _with_iptc(pictures)
        for picture in pictures:
            with_iptc = picture in have or self._creates_iptc(Path(picture))
            yield f"{picture}: XMP and IPTC inside" if with_iptc else f"{picture}: XMP inside"

    def _creates_iptc(self, picture: Path) -> bool:
        return self.iptc and picture.suffix.lower() in _IPTC_FORMATS


def remove_embedded(picture: Path) -> bool:
    """Remove everything that anytag wrote into a picture; return whether there was anything.

    Raises:
        SidecarError: If exiftool cannot write the picture.
        MissingProgramError: If exiftool is not installed.
    """
    before, path = Metadata.read(picture), str(picture)
    if not before.packet:
        return False
    ours, block = xmp.Ours.read(before.packet, path), Block(before.iptc)
    data = block.without(ours.added, ours.caption) if block.readable else before.iptc
    after = xmp.remove(before.packet, path, _storable(Block(data)))
    if after == before.packet:
        return False
    before.replace(picture, b"" if xmp.is_empty(after, path) else after, data)
    return True


@dataclass(frozen=True, slots=True)
class Metadata:
    """The metadata of a picture that can hold keywords.

    Attributes:
        packet: The XMP packet; empty if there is none.
        iptc: The IPTC block; empty if there is none.
        digest: MD5 of the block when a program last synchronized it with XMP; empty if none is stored.
    """

    packet: bytes
    iptc: bytes
    digest: str

    @staticmethod
    def read(picture: Path) -> Metadata:
        """Read it with exiftool.

        Raises:
            SidecarError: If it cannot read the picture.
            MissingProgramError: If it is not installed.
        """
        # With their groups, since any namespace may have a property of such a name.
        commands = [["-XMP:XMP", "-b"], ["-IPTC:IPTC", "-b"], ["-Photoshop:IPTCDigest", "-s3"]]
        packet, iptc, digest = _run(picture, *commands).split(f"{_SEPARATOR}\n".encode())
        return Metadata(packet, iptc, digest.decode("ascii", "replace").strip())

    def replace(self, picture: Path, packet: bytes, iptc: bytes, first_digest: bool = False) -> None:
        """Replace the packet and the block in one run; empty ones are deleted.

        ``first_digest`` stores the block's digest even if there was none.

        Raises:
            SidecarError: If exiftool cannot write the picture.
        """
        options = ["-P", "-overwrite_original"]
        if iptc != self.iptc:
            iptc = _aligned_for_tiff(picture, iptc)
            # A wrong digest shows that an older program changed the block since; it stays wrong.
            in_step = self.digest in (_digest(self.iptc), _digest(self.iptc[: Block(self.iptc).end]))
            if in_step or first_digest:
                options.append(f"-IPTCDigest={_digest(iptc) if iptc else ''}")
        with tempfile.TemporaryDirectory() as folder:
            for name, before, after in (("xmp", self.packet, packet), ("iptc", self.iptc, iptc)):
                if after and after != before:
                    file = Path(folder) / name
                    file.write_bytes(after)
                    options.append(f"-{name}<={file}")
                elif after != before:
                    options.append(f"-{name}=")
            # exiftool would replace a link by a picture.
            place = picture.resolve()
            _clear_remnant(place)
            then = place.stat()
            _run(picture, options, place=place)
            # exiftool restores whole seconds only.
            os.utime(place, ns=(then.st_atime_ns, then.st_mtime_ns))


def _storable(block: Block) -> tuple[str, ...]:
    return tuple(map(storable, block.keywords))


def _digest(iptc: bytes) -> str:
    return hashlib.md5(iptc, usedforsecurity=False).hexdigest()


def _aligned_for_tiff(picture: Path, iptc: bytes) -> bytes:
    """Pad a block as the file will hold it: TIFF stores multiples of four bytes."""
    if picture.suffix.lower() not in _TIFF_FORMATS:
        return iptc
    end = Block(iptc).end
    return iptc[:end] + bytes(-end % 4)


def _clear_remnant(picture: Path) -> None:
    """Delete the copy of a killed exiftool; wait for one that is still being written."""
    copy = picture.with_name(picture.name + _COPY)
    unchanged_since, state = time.monotonic(), None
    with suppress(FileNotFoundError):
        while True:
            now = copy.stat()
            if (now.st_size, now.st_mtime) != state:
                unchanged_since, state = time.monotonic(), (now.st_size, now.st_mtime)
            if max(time.monotonic() - unchanged_since, time.time() - now.st_mtime) >= _STALE_AFTER:
                copy.unlink()
                return
            time.sleep(0.1)


def _with_iptc(pictures: Sequence[str]) -> set[str]:
    """Return the pictures that have an IPTC block; unreadable ones count as having none."""
    if not pictures:
        return set()
    command = [exiftool(), "-j", "-m", "-fast", "-IPTC:all", *(str(Path(name).absolute()) for name in pictures)]
    done = subprocess.run(command, capture_output=True, check=False, stdin=subprocess.DEVNULL)
    try:
        found = json.loads(done.stdout or b"[]")
    except ValueError:
        return set()
    have = {Path(entry["SourceFile"]) for entry in found if len(entry) > 1}
    return {name for name in pictures if Path(name).absolute() in have}


def _run(picture: Path, *commands: Sequence[str], place: Path | None = None) -> bytes:
    """Run exiftool once and return its output, with :data:`_SEPARATOR` between the outputs of several commands.

    ``picture`` is named in messages, and processed unless there is another ``place``.
    """
    # An absolute name, since one that begins with a dash would be an option.
    name, arguments = str((place or picture).absolute()), [exiftool()]
    for number, command in enumerate(commands):
        arguments += ["-execute", "-echo1", _SEPARATOR] if number else []
        arguments += ["-m", *command, name]
    done = subprocess.run(arguments, capture_output=True, check=False, stdin=subprocess.DEVNULL)
    if done.returncode:
        messages = done.stderr.decode(errors="replace").strip().splitlines()
        messages.sort(key=lambda line: not line.startswith("Error"))
        reason = messages[0] if messages else f"status {done.returncode}"
        raise SidecarError(f"{picture}: exiftool could not do it ({reason})")
    return done.stdout
