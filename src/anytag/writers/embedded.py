"""XMP inside the pictures themselves, through exiftool, which knows every format's container."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

from anytag.errors import MissingProgramError, SidecarError
from anytag.writers import xmp
from anytag.writers.records import PictureRecord, TagView
from anytag.writers.sidecars import beside
from anytag.writers.xmp_sidecars import keywords


def exiftool() -> str:
    """Where exiftool is.

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
class EmbeddedXmp:
    """Writes tags and captions into the pictures; pixels, other metadata and file times stay as they are.

    Attributes:
        view: Knows the tags' parents.
    """

    view: TagView
    name: str = "embed"

    def write(self, record: PictureRecord) -> bool:
        """Write into one picture; gives whether it was changed.

        Raises:
            SidecarError: If exiftool cannot write the picture.
            MissingProgramError: If exiftool is not installed.
        """
        picture = beside(record, Path(record.path).suffix)
        before = read_packet(picture)
        after = xmp.update(
            before or xmp.skeleton(),
            str(picture),
            keywords(record, self.view),
            record.recognition.caption,
            record.provenance,
        )
        if after != before:
            _write_packet(picture, after)
        return after != before


def remove_embedded(picture: Path) -> bool:
    """Take everything of ours out of a picture; gives whether there was anything.

    Raises:
        SidecarError: If exiftool cannot write the picture.
        MissingProgramError: If exiftool is not installed.
    """
    before = read_packet(picture)
    if not before:
        return False
    after = xmp.remove(before, str(picture))
    if after == before:
        return False
    _write_packet(picture, b"" if xmp.is_empty(after, str(picture)) else after)
    return True


def read_packet(picture: Path) -> bytes:
    """The XMP packet of a picture; empty if it has none."""
    return _run(["-xmp", "-b", "-m"], picture)


def _write_packet(picture: Path, packet: bytes) -> None:
    """Replace a picture's XMP packet; an empty one takes it away."""
    options = ["-P", "-m", "-overwrite_original"]
    if not packet:
        _run([*options, "-xmp="], picture)
        return
    with tempfile.NamedTemporaryFile(suffix=".xmp") as file:
        file.write(packet)
        file.flush()
        _run([*options, f"-xmp<={file.name}"], picture)


def _run(options: list[str], picture: Path) -> bytes:
    # "./" keeps a name that begins with a dash from being an option.
    name = str(picture if picture.is_absolute() else Path.cwd() / picture)
    done = subprocess.run([exiftool(), *options, name], capture_output=True, check=False, stdin=subprocess.DEVNULL)
    if done.returncode:
        said = done.stderr.decode(errors="replace").strip().splitlines()
        raise SidecarError(f"{picture}: exiftool could not do it ({said[0] if said else f'status {done.returncode}'})")
    return done.stdout
