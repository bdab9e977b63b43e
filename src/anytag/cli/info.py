"""``anytag info``: show what a model contains."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterator
from typing import Annotated, Any

from safetensors import safe_open
from typer import Argument, Option

from anytag.cli._output import open_console, styled, write_json, write_table
from anytag.foundations.wording import counted
from anytag.model.config import ModelConfig
from anytag.model.directory import ModelDirectory
from anytag.model.vocabulary import TagVocabulary
from anytag.recognition import TagKind


def info(
    model: Annotated[str | None, Argument(help="Model directory or hub id. (default: the shipped model)")] = None,
    json_: Annotated[bool, Option("--json", help="Write one JSON object.")] = False,
) -> None:
    """Show a model's parts, tags, thresholds and files, after checking every file.

    Example: anytag info
    """
    from anytag.model.directory import find_model

    directory = find_model(model)
    sizes = {name: directory.file(name).stat().st_size for name in sorted(directory.config.files)}
    vocabulary, config = directory.vocabulary, directory.config
    kinds = Counter(tag.kind for tag in vocabulary)
    record = {
        "path": str(directory.path),
        "name": config.name,
        "family": config.family,
        "tags": len(vocabulary),
        "trained_tags": sum(tag.support > 0 for tag in vocabulary),
        "kinds": dict(kinds),
        "languages": vocabulary.translations.languages,
        "calibrated": sum(tag.threshold is not None for tag in vocabulary),
        "thresholds": dict(_provenance(vocabulary)),
        "parameters": parameters_by_part(directory),
        "bytes": sum(sizes.values()),
        "files": sizes,
    }
    if json_:
        write_json(record)
        return
    console = open_console()
    console.print(styled((config.name, "bold"), f" ({config.family}) in {directory.path}"))
    for name, text in _described(config, vocabulary, kinds, record):
        console.print(styled(f"  {name:<15}{text}"))
    listed = [*sizes.items(), ("in all", sum(sizes.values()))]
    write_table([("", name, f"{size / 1e6:.2f} MB") for name, size in listed], right=(2,))


def _described(
    config: ModelConfig, vocabulary: TagVocabulary, kinds: Counter[TagKind], record: dict[str, Any]
) -> Iterator[tuple[str, str]]:
    """Yield the name and description of each part."""
    encoder, captioner, labels = config.image_encoder, config.captioner, config.labels
    swin = encoder.swin
    sizes = f", width {swin.width}, depths {swin.depths}, windows of {swin.window}" if swin else ""
    yield "image encoder", f"{encoder.name}{sizes}, {encoder.resolution} px, {encoder.tokens} tokens"
    score = "a score layer a tag" if config.recognition.score == "per_tag" else "one score layer"
    yield "recognition", f"{config.recognition.layers} layers, width {config.width}, {score}"
    origin = {
        "text": labels.encoder,
        "learned": "learned, one a tag: no other categories",
        "embedded": f"{labels.encoder}, one text embedding a tag",
        "described": f"{labels.encoder}, {labels.descriptions} descriptions a tag, weighed by the picture",
    }[labels.kind]
    if labels.kind not in ("text", "learned") and labels.clip_text is None:
        origin += "; no text encoder for new categories (convert with --clip, train with teacher.clip)"
    yield "label queries", origin
    written = f"{captioner.layers} layers, {captioner.vocabulary:,} word pieces" if captioner else "none"
    yield "captioner", written
    if parts := record["parameters"]:
        yield "parameters", f"{sum(parts.values()):,} in all"
        for part, count in parts.items():
            yield "", f"{part.replace('_', ' ')}: {count:,}"
    by_kind = ", ".join(counted(n, kind) for kind, n in kinds.most_common())
    counts = ", ".join(f"{code} {count:,}" for code, count in record["languages"].items())
    languages = f"; named in {counts}" if counts else ""
    trained = f", {record['trained_tags']:,} trained" if record["trained_tags"] else ""
    yield "tags", f"{len(vocabulary):,} ({by_kind}){trained}{languages}"
    values = [tag.threshold for tag in vocabulary if tag.threshold is not None and tag.threshold <= 1]
    limits = ", " + " to ".join(sorted({f"{limit:.2f}" for limit in (min(values), max(values))})) if values else ""
    yield "thresholds", f"{record['calibrated']:,} of their own{limits}; default {config.default_threshold}"
    for source, count in record["thresholds"].items():
        yield "", f"{count:,} from: {source}"
    if never := sum(tag.threshold is not None and tag.threshold > 1 for tag in vocabulary):
        yield "", f"{never} can never be found"


def _provenance(vocabulary: TagVocabulary) -> list[tuple[str, int]]:
    """Return the sources of thresholds, the most frequent first, without their numbers of positives."""
    sources = (tag.threshold_from or "an unknown source" for tag in vocabulary if tag.threshold is not None)
    return Counter(re.sub(r", \d+ positives$", "", source) for source in sources).most_common(5)


def parameters_by_part(directory: ModelDirectory) -> dict[str, int]:
    """Return the number of parameters of every part of a model with PyTorch weights; empty for one without."""
    if not directory.has("model.safetensors"):
        return {}
    counts: Counter[str] = Counter()
    with safe_open(directory.file("model.safetensors"), framework="np") as file:
        for name in file.keys():  # noqa: SIM118 (it is not a dict)
            counts[name.partition(".")[0]] += math.prod(file.get_slice(name).get_shape())
    return dict(counts.most_common())
