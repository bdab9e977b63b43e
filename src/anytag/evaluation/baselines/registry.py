"""All rivals by name, what each needs, and what opens it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from anytag.errors import UsageError
from anytag.evaluation.systems import Paradigm, System


def _contrast(path: str, **options: str) -> System:
    from anytag.evaluation.baselines.contrast import ContrastBaseline

    return ContrastBaseline(path)


def _diht(path: str, **options: str) -> System:
    from anytag.evaluation.baselines.diht import DihtBaseline

    return DihtBaseline(path, options["tokenizer"])


def _blip(head: Any) -> Callable[..., System]:
    def open_(path: str, **options: str) -> System:
        from anytag.evaluation.baselines.blip import BlipAlignmentBaseline

        return BlipAlignmentBaseline(path, head)

    return open_


def _blip_caption(path: str, **options: str) -> System:
    from anytag.evaluation.baselines.blip import BlipCaptioningBaseline

    return BlipCaptioningBaseline(path)


def _blip2(path: str, **options: str) -> System:
    from anytag.evaluation.baselines.captioners import Blip2Baseline

    return Blip2Baseline(path)


def _florence(path: str, **options: str) -> System:
    from anytag.evaluation.baselines.captioners import Florence2Baseline

    return Florence2Baseline(path, options.get("task", "caption"))


def _ml_decoder(path: str, **options: str) -> System:
    from anytag.evaluation.baselines.ml_decoder import MlDecoderBaseline

    classes = Path(options["classes"]).read_text(encoding="utf-8").splitlines() if "classes" in options else None
    return MlDecoderBaseline(path, classes, int(options.get("side", 224)))


def _mkt(path: str, **options: str) -> System:
    from anytag.evaluation.baselines.mkt import MktBaseline

    return MktBaseline(path, options["texts"], options["tokenizer"])


def _detector(path: str, **options: str) -> System:
    from anytag.evaluation.baselines.detector import DetectorBaseline

    return DetectorBaseline(path)


def _grounding(path: str, **options: str) -> System:
    from anytag.evaluation.baselines.detector import GroundingDinoBaseline

    return GroundingDinoBaseline(path)


@dataclass(frozen=True)
class BaselineEntry:
    """A rival that the project knows.

    Attributes:
        key: Its name on the command line.
        title: As the papers call it.
        paradigm: How it recognizes.
        weights: What to get, and where.
        open: Opens it.
        needs: Options that it cannot do without.
        may: Options that it also knows.
    """

    key: str
    title: str
    paradigm: Paradigm
    weights: str
    open: Callable[..., System]
    needs: tuple[str, ...] = ()
    may: tuple[str, ...] = ()


_HUB = "a transformers directory, such as hub:"
BASELINES: dict[str, BaselineEntry] = {
    entry.key: entry
    for entry in (
        BaselineEntry("clip", "CLIP", "alignment", f"{_HUB}openai/clip-vit-base-patch16", _contrast),
        BaselineEntry("siglip2", "SigLIP 2", "alignment", f"{_HUB}google/siglip2-base-patch16-256", _contrast),
        BaselineEntry(
            "diht", "DiHT", "alignment", "diht_vitb16_224px_*.ckpt (dl.fbaipublicfiles.com/diht; CC BY-NC 4.0)", _diht,
            ("tokenizer",),
        ),
        BaselineEntry("blip-itc", "BLIP (ITC)", "alignment", f"{_HUB}Salesforce/blip-itm-base-coco", _blip("itc")),
        BaselineEntry("blip-itm", "BLIP (ITM)", "alignment", f"{_HUB}Salesforce/blip-itm-base-coco", _blip("itm")),
        BaselineEntry(
            "blip-caption", "BLIP", "captioning", f"{_HUB}Salesforce/blip-image-captioning-base", _blip_caption
        ),
        BaselineEntry("blip2", "BLIP-2", "captioning", f"{_HUB}Salesforce/blip2-opt-2.7b", _blip2),
        BaselineEntry(
            "florence2", "Florence-2", "captioning", f"{_HUB}florence-community/Florence-2-base", _florence,
            (), ("task",),
        ),
        BaselineEntry(
            "ml-decoder", "ML-Decoder", "tagging",
            "tresnet_m_open_images_200_groups_86_8.pth (miil-public-eu.oss-eu-central-1.aliyuncs.com)", _ml_decoder,
            (), ("classes", "side"),
        ),
        BaselineEntry(
            "mkt", "MKT", "alignment", "both checkpoints of sunanhe/MKT (Google Drive)", _mkt, ("texts", "tokenizer")
        ),
        BaselineEntry("detector", "detector", "detection", f"{_HUB}facebook/detr-resnet-50", _detector),
        BaselineEntry(
            "grounding-dino", "Grounding DINO", "detection", f"{_HUB}IDEA-Research/grounding-dino-base", _grounding
        ),
    )
}  # fmt: skip


def open_baseline(spec: str) -> System:
    """Open a rival from ``NAME=PATH`` or ``NAME=PATH,option=value``.

    A path that begins with ``hub:`` is a repository of the Hugging Face hub, downloaded once.

    Raises:
        UsageError: If the name or an option is unknown, or one is missing.
        ModelError: If the weights are not those of the rival.
    """
    name, _, rest = spec.partition("=")
    entry = BASELINES.get(name)
    if entry is None:
        raise UsageError(f"there is no baseline {name!r}; baselines are: {', '.join(BASELINES)}")
    path, *pairs = rest.split(",")
    if not path:
        raise UsageError(f"baseline {name} needs weights: {name}=PATH ({entry.weights})")
    options = {}
    for pair in pairs:
        key, _, value = pair.partition("=")
        if key not in (*entry.needs, *entry.may):
            known = ", ".join((*entry.needs, *entry.may)) or "none"
            raise UsageError(f"baseline {name} has no option {key!r}; it has {known}")
        options[key] = local_weights(value) if key in ("tokenizer", "texts") else value
    if missing := [key for key in entry.needs if key not in options]:
        raise UsageError(f"baseline {name} also needs {missing[0]}=…: {name}=PATH,{missing[0]}=PATH")
    return entry.open(local_weights(path), **options)


def local_weights(path: str) -> str:
    """A path on this machine; ``hub:OWNER/NAME`` is downloaded first.

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
        first = str(error).strip().partition("\n")[0]
        raise UsageError(f"{path}: the hub does not give it ({first}); check the name and the network") from None
