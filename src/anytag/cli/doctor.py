"""``anytag doctor``: check what is installed, what works, and how fast; advise on the rest."""

from __future__ import annotations

import platform
import shutil
import subprocess
import time
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from typing import Annotated, Literal

import numpy as np
from PIL import Image, features
from typer import Exit, Option

from anytag import __version__
from anytag.cli._inputs import ModelOptions
from anytag.cli._output import echo, write_json
from anytag.errors import AnytagError
from anytag.foundations.cpu_count import available_processors

#: Extras, a module of each, and what it is for.
_EXTRAS = (
    ("photos", "pillow_heif", "HEIC, the format of many phones"),
    ("parquet", "pyarrow", "Parquet files"),
    ("openvino", "openvino", "another runtime"),
    ("nlp", "spacy", "the larger caption parser"),
    ("train", "torch", "training, and models that are not exported"),
    ("export", "onnxscript", "making models that run without PyTorch"),
    ("search", "usearch", "quick searches among more than 200,000 pictures"),
    ("cluster", "ray", "batches and the data engine on many machines"),
)


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of the report.

    Attributes:
        what: What was checked.
        state: ``ok``; ``absent``: missing, but needed for some things only; ``broken``: anytag does not work.
        detail: The result.
        advice: What to do, if anything.
    """

    what: str
    state: Literal["ok", "absent", "broken"]
    detail: str
    advice: str = ""


def doctor(
    json_: Annotated[bool, Option("--json", help="Write one JSON object.")] = False, *, runtime: ModelOptions
) -> None:
    """Check the installation, the model and other programs, and measure the speed of this machine.

    Example: anytag doctor
    """
    findings = [
        Finding("anytag", "ok", f"{__version__}, Python {platform.python_version()}, {platform.platform()}"),
        Finding("processors", "ok", f"{available_processors()} to use"),
        _model(runtime),
        _formats(),
        _exiftool(),
        *(_extra(*extra) for extra in _EXTRAS),
    ]
    if json_:
        write_json([asdict(finding) for finding in findings])
    else:
        width = max(len(finding.what) for finding in findings)
        for finding in findings:
            mark = {"ok": "ok", "absent": "--", "broken": "!!"}[finding.state]
            echo(f"{mark}  {finding.what:<{width}}  {finding.detail}")
            if finding.advice:
                echo(f"{'':{width + 6}}{finding.advice}")
    if any(finding.state == "broken" for finding in findings):
        raise Exit(1)


def _model(runtime: ModelOptions) -> Finding:
    """Load and run the model, and measure pictures per second."""
    try:
        start = time.perf_counter()
        recognizer = runtime.open()
        pictures = [
            Image.fromarray(np.random.default_rng(seed).integers(0, 256, (480, 640, 3), dtype=np.uint8))
            for seed in range(32)
        ]
        recognizer.tag(pictures[0])
        loaded = time.perf_counter() - start
        start = time.perf_counter()
        recognizer.tag(pictures)
        rate = len(pictures) / (time.perf_counter() - start)
    except AnytagError as error:
        return Finding("model", "broken", str(error), "Try: anytag info")
    config = recognizer.directory.config
    return Finding(
        "model",
        "ok",
        f"{config.name} ({config.family}), {len(recognizer.vocabulary):,} tags, {recognizer.directory.path}; first "
        f"picture after {loaded:.1f} s, then {rate:.0f} pictures a second without reading files",
    )


def _formats() -> Finding:
    known = {"JPEG": "jpg", "PNG": "zlib", "WebP": "webp", "AVIF": "avif", "JPEG 2000": "jpg_2000", "TIFF": "libtiff"}
    there = [name for name, feature in known.items() if features.check(feature)]
    missing = [name for name in known if name not in there]
    advice = f"This Pillow reads no {', '.join(missing)}: pip install --upgrade pillow" if missing else ""
    return Finding("formats", "absent" if missing else "ok", ", ".join(there), advice)


def _exiftool() -> Finding:
    place = shutil.which("exiftool")
    if place is None:
        advice = "Needed only for --embed. Debian: apt install libimage-exiftool-perl; macOS: brew install exiftool"
        return Finding("exiftool", "absent", "not installed", advice)
    done = subprocess.run([place, "-ver"], capture_output=True, text=True, check=False)
    return Finding("exiftool", "ok", f"{done.stdout.strip()}, {place}")


def _extra(name: str, module: str, purpose: str) -> Finding:
    what = f"extra {name}"
    if find_spec(module) is None:
        return Finding(what, "absent", f"not installed: {purpose}", f"pip install 'anytag[{name}]'")
    try:
        return Finding(what, "ok", f"{module} {version(module)}")
    except PackageNotFoundError:
        return Finding(what, "ok", module)
