"""All rivals by name: their options, where to get their weights, and how to open them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Any, cast

from anytag.errors import MissingExtraError, UsageError, first_line
from anytag.evaluation.systems import Paradigm, System


@dataclass(frozen=True)
class BaselineEntry:
    """A rival that the project knows.

    Attributes:
        key: Name on the command line.
        title: Name in the papers.
        paradigm: See :class:`~anytag.evaluation.systems.System`.
        opener: Its class, as ``module.Class`` of this package; imported only when it is opened.
        source: Where its weights are published: ``hub:OWNER/NAME``, or an address.
        files: Patterns of its weight files; none for a repository of the hub. The first is the weights, the others are
            ``needs``, in their order.
        fixed: Further arguments of the class.
    """

    key: str
    title: str
    paradigm: Paradigm
    opener: str
    source: str
    files: tuple[str, ...] = ()
    needs: tuple[str, ...] = ()
    may: tuple[str, ...] = ()
    fixed: Mapping[str, Any] = field(default_factory=dict)

    @property
    def weights(self) -> str:
        """Names of the weight files, and where they are published."""
        return f"{' and '.join(self.files)}, from {self.source}" if self.files else self.source


_CLIP = "hub:openai/clip-vit-base-patch16"
_MIIL = "miil-public-eu.oss-eu-central-1.aliyuncs.com/model-zoo/ML_Decoder"
BASELINES: dict[str, BaselineEntry] = {
    entry.key: entry
    for entry in (
        BaselineEntry("clip", "CLIP", "alignment", "contrast.ContrastBaseline", _CLIP),
        BaselineEntry(
            "siglip2", "SigLIP 2", "alignment", "contrast.ContrastBaseline", "hub:google/siglip2-base-patch16-256"
        ),
        BaselineEntry(
            "diht", "DiHT", "alignment", "diht.DihtBaseline",
            "dl.fbaipublicfiles.com/diht (CC BY-NC 4.0; the address with the checksum is in diht/model_zoo_configs of "
            "facebookresearch/diht)", ("diht_vitb16_224px_*.ckpt",), ("tokenizer",),
        ),
        BaselineEntry(
            "blip-itc", "BLIP (ITC)", "alignment", "blip.BlipAlignmentBaseline", "hub:Salesforce/blip-itm-base-coco",
            fixed={"head": "itc"},
        ),
        BaselineEntry(
            "blip-itm", "BLIP (ITM)", "alignment", "blip.BlipAlignmentBaseline", "hub:Salesforce/blip-itm-base-coco",
            fixed={"head": "itm"},
        ),
        BaselineEntry(
            "blip-caption", "BLIP", "captioning", "blip.BlipCaptioningBaseline",
            "hub:Salesforce/blip-image-captioning-base",
        ),
        BaselineEntry("blip2", "BLIP-2", "captioning", "captioners.Blip2Baseline", "hub:Salesforce/blip2-opt-2.7b"),
        BaselineEntry(
            "florence2", "Florence-2", "captioning", "captioners.Florence2Baseline",
            "hub:florence-community/Florence-2-base", may=("task",),
        ),
        BaselineEntry(
            "ml-decoder", "ML-Decoder", "tagging", "ml_decoder.MlDecoderBaseline", _MIIL,
            ("tresnet_m_open_images_200_groups_86_8.pth",), may=("classes", "side"),
        ),
        BaselineEntry(
            "mkt", "MKT", "alignment", "mkt.MktBaseline",
            "the two links to Google Drive in the README of sunanhe/MKT (save them under these names)",
            ("mkt_first_stage.pth", "mkt_second_stage.pth"), ("texts", "tokenizer"),
        ),
        BaselineEntry(
            "detector", "detector", "detection", "detector.DetectorBaseline", "hub:facebook/detr-resnet-50"
        ),
        BaselineEntry("rt-detr", "RT-DETR", "detection", "detector.DetectorBaseline", "hub:PekingU/rtdetr_r50vd"),
        BaselineEntry(
            "grounding-dino", "Grounding DINO", "detection", "detector.GroundingDinoBaseline",
            "hub:IDEA-Research/grounding-dino-base",
        ),
    )
}  # fmt: skip


def find_weights(entry: BaselineEntry, folder: Path) -> list[str]:
    """Find the weights of a rival on this machine, then the files of its required options.

    Args:
        folder: Searched for its files, or for a directory named as its repository; then the hub's cache is.

    Returns:
        Paths; empty if something is missing.
    """
    if not entry.files:
        whole = _find_repository(entry.source, folder)
        return [whole] if whole else []
    paths = [str(path) for pattern in entry.files for path in sorted(folder.glob(pattern))[:1]]
    if "tokenizer" in entry.needs and (clip := _find_repository(_CLIP, folder)):
        paths.append(clip)
    return paths if len(paths) == len(entry.files) + ("tokenizer" in entry.needs) else []


def _find_repository(source: str, folder: Path) -> str | None:
    name = source.removeprefix("hub:")
    beside = folder / name.rpartition("/")[2]
    if (beside / "config.json").is_file():
        return str(beside)
    try:
        from huggingface_hub import try_to_load_from_cache
    except ImportError:
        return None
    cached = try_to_load_from_cache(name, "config.json")
    return str(Path(cached).parent) if isinstance(cached, str) else None


def open_baseline(spec: str, folder: Path | None = None) -> System:
    """Open a rival from ``NAME``, ``NAME=PATH`` or ``NAME=PATH,option=value``.

    A path that begins with ``hub:`` is a repository of the Hugging Face hub, downloaded once.

    Args:
        folder: Searched for the weights if there is no path; ``None``: the current folder.

    Raises:
        UsageError: If the name or an option is unknown, or one is missing, or weights are not found.
        ModelError: If the weights are not those of the rival.
        MissingExtraError: If PyTorch is not installed.
    """
    name, _, rest = spec.partition("=")
    entry = BASELINES.get(name)
    if entry is None:
        raise UsageError(f"there is no baseline {name!r}; baselines are: {', '.join(BASELINES)}")
    path, *pairs = rest.split(",")
    options: dict[str, Any] = {}
    if not path:
        path, *others = find_weights(entry, folder or Path()) or [""]
        options.update(zip(entry.needs, others, strict=False))
    if not path:
        raise UsageError(f"baseline {name} needs weights: {name}=PATH ({entry.weights})")
    for pair in pairs:
        key, _, value = pair.partition("=")
        if key not in (*entry.needs, *entry.may):
            known = ", ".join((*entry.needs, *entry.may)) or "none"
            raise UsageError(f"baseline {name} has no option {key!r}; it has {known}")
        options[key] = _option(name, key, value)
    if missing := [key for key in entry.needs if key not in options]:
        raise UsageError(f"baseline {name} also needs {missing[0]}=…: {name}=PATH,{missing[0]}=PATH")
    module, _, cls = entry.opener.partition(".")
    try:
        opener = getattr(import_module(f"{__package__}.{module}"), cls)
    except ModuleNotFoundError:
        raise MissingExtraError("This baseline", "baselines") from None
    return cast(System, opener(local_weights(path), **entry.fixed, **options))


def _option(name: str, key: str, value: str) -> Any:
    if key in ("tokenizer", "texts"):
        return local_weights(value)
    try:
        if key == "classes":
            return Path(value).read_text(encoding="utf-8").splitlines()
        return int(value) if key == "side" else value
    except (OSError, ValueError) as error:
        raise UsageError(f"baseline {name}: {key}={value} cannot be used ({error})") from None


def local_weights(path: str) -> str:
    """Return a local path, after downloading ``hub:OWNER/NAME``.

    Raises:
        UsageError: If the download fails.
    """
    if not path.startswith("hub:"):
        return path
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError, RepositoryNotFoundError

    try:
        return snapshot_download(path.removeprefix("hub:"))
    except (HfHubHTTPError, LocalEntryNotFoundError, RepositoryNotFoundError, OSError) as error:
        raise UsageError(
            f"{path}: cannot be downloaded from the hub ({first_line(error)}); check the name and the network"
        ) from None
