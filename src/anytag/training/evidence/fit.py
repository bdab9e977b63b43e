"""From a recipe for evidence to a model that has it."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import save_file

from anytag.datasets.bad_samples import JsonLinesLog
from anytag.errors import UsageError
from anytag.foundations.report import Report
from anytag.inference.evidence import (
    EVIDENCE_FILE,
    PREDICTORS,
    apply_temperature,
    classifier_features,
    exclusive_classes,
    label_probabilities,
    unfamiliarity,
)
from anytag.inference.recognizer import Recognizer
from anytag.language.parsing.parsed_captions import ParsedCaptions
from anytag.language.parsing.parser import load_parser
from anytag.model.config import EvidenceConfig, ModelConfig
from anytag.model.directory import ModelDirectory, new_model, write_config
from anytag.model.vocabulary import TagVocabulary
from anytag.training.evidence.familiarity import fit_unfamiliarity
from anytag.training.evidence.network import Fitted, fit_network, inputs_of
from anytag.training.evidence.open_fit import decoder_alone, fit_open
from anytag.training.evidence.partial_labels import TRUE, ClassTargets, PartialLabels, caption_targets, naming_rates
from anytag.training.evidence.predictions import PredictionCache, Predictions, joined
from anytag.training.evidence.weights import Statements, TagKnowledge, fit_alone, fit_weights
from anytag.training.families.batches import SampleTags
from anytag.training.families.data_sources import find_path, open_sources
from anytag.training.recipes.evidence import EvidenceTraining

#: Pictures whose classes are added up at a time.
_CHUNK = 512

_HEADING = "## Evidence"

#: Factor and bias of what the classifier says alone, where it is not to be predictions alone.
_SILENT = np.array([0, -99], np.float32)


def fit_evidence(
    config: EvidenceTraining, data: Path, folder: Path, cache: Path, recognizer: Recognizer, report: Report
) -> None:
    """Fit the evidence of a model; see :func:`~anytag.training.evidence.run.fit_recipe`."""
    directory = recognizer.directory
    if not directory.config.image_encoder.classes:
        raise UsageError(f"{directory.path}: its image encoder has no classifier, so there is no evidence to weigh")
    material = gather(config, data, cache, folder, recognizer, report)
    arrays = fit(config, material, recognizer, folder, report)
    _write(folder / "model", directory, config, material, arrays)


@dataclass(frozen=True)
class Material:
    """What evidence is fitted on.

    Attributes:
        seen: What was said of pictures that the decoder has learned from; none if there are no such.
        seen_targets: What is known of them.
        new: The same of all others.
        new_targets: Likewise.
        rates: ``[T]``, how likely one caption is to name a tag that is there.
        classes: Tags that are a class of some collection, or that its pictures are said not to show: of these, pictures
            with a class speak.
    """

    seen: Predictions | None
    seen_targets: PartialLabels | None
    new: Predictions
    new_targets: PartialLabels
    rates: NDArray[np.float64]
    classes: frozenset[int]


def gather(
    config: EvidenceTraining, data: Path, cache: Path, folder: Path, recognizer: Recognizer, report: Report
) -> Material:
    """Ask the predictors about all pictures, and parse what is said of those.

    Args:
        config: The recipe.
        data: Folder that its paths start at.
        cache: Folder for what is made once.
        folder: The run folder: receives ``bad-samples.jsonl``.
        recognizer: The model.
        report: Receives progress.

    Raises:
        UsageError: If data are missing, or not as the recipe says.
    """
    vocabulary = recognizer.vocabulary
    parser = ParsedCaptions(load_parser(config.parser), cache)
    tags, predict = (
        SampleTags(vocabulary, parser),
        PredictionCache(recognizer, cache, report, JsonLinesLog(folder / "bad-samples.jsonl")),
    )
    root, general = exclusive_tags(config, vocabulary)
    found: dict[bool, list[tuple[Predictions, PartialLabels]]] = {True: [], False: []}
    classes: set[int] = set()
    described = []
    for group in config.groups:
        [source] = open_sources([group.source], data, None)
        predictions = predict(group, source)
        if group.collections is None:
            targets = caption_targets(predictions.samples, tags)
            described += predictions.samples
        else:
            absent = [_tag_id("absent", name, vocabulary) for name in group.absent]
            read = ClassTargets(find_path(group.collections, data), tags, root, general, absent)
            targets = read(predictions.samples)
            classes |= read.classes | set(absent)
        found[group.seen].append((predictions, targets))
        report(f"{source.identity}: {len(predictions.samples):,} pictures, {_true(targets):.1f} true tags a picture")
    parser.flush()
    rates = naming_rates(described, tags)
    seen, seen_targets = _joined(found[True]) if found[True] else (None, None)
    return Material(seen, seen_targets, *_joined(found[False]), rates, frozenset(classes))


def exclusive_tags(config: EvidenceTraining, vocabulary: TagVocabulary) -> tuple[int | None, tuple[int, ...]]:
    """Ids of the tag whose kinds exclude each other, and of those below it that are not kinds; it is one of them.

    Raises:
        UsageError: If the model has no such tag; of the others, those that it lacks are passed over.
    """
    if config.exclusive is None:
        return None, ()
    root = _tag_id("exclusive", config.exclusive, vocabulary)
    others = (vocabulary.find(name) for name in config.general)
    return root, tuple(sorted({root, *(tag.id for tag in others if tag is not None)}))


def _tag_id(setting: str, name: str, vocabulary: TagVocabulary) -> int:
    tag = vocabulary.find(name)
    if tag is None:
        raise UsageError(f"{setting}: the model has no tag {name!r}; name another, or none")
    return tag.id


def fit(
    config: EvidenceTraining, material: Material, recognizer: Recognizer, folder: Path, report: Report
) -> dict[str, NDArray[Any]]:
    """The arrays of ``evidence.safetensors``.

    The network is trained on all pictures. What weights are fitted on is what networks say of pictures that they have
    not learned from, which is less sure.

    Args:
        config: The recipe.
        material: From :func:`gather`.
        recognizer: The model.
        folder: The run folder: networks are kept there.
        report: Receives progress.
    """
    new, targets, rates = material.new, material.new_targets, material.rates
    inputs = inputs_of(new, config.least)
    before = [] if material.seen is None else [inputs_of(material.seen, config.least)]
    before_claims = [] if material.seen_targets is None else [material.seen_targets]

    def network(name: str, rows: NDArray[np.bool_]) -> Fitted:
        taught = _all_targets([*before_claims, targets.take(rows)])
        learned = np.concatenate([*before, inputs[rows]])
        path = folder / f"network-{_digest(config, taught, learned)}.safetensors"
        if not path.exists():
            report(f"network {name}")
            fit_network(learned, taught, rates, config.network, config.seed, report).save(path)
        return Fitted.load(path, config.network)

    fold = np.random.default_rng(config.seed).permutation(len(inputs)) % config.weights.folds
    picture = np.zeros(targets.values.shape, np.float32)
    for number in range(config.weights.folds):
        name = f"{number + 1}/{config.weights.folds} of those that weights are fitted with"
        picture[fold == number] = network(name, fold != number)(inputs[fold == number])
    whole = network("of the model", np.ones(len(inputs), np.bool_))
    known = _knowledge(material, whole.positives, recognizer)
    look = _linear_look(material, [*before, inputs])
    unfamiliar = np.zeros(len(inputs), np.float32)
    if look:
        unfamiliar = unfamiliarity(inputs, look["unfamiliar_weight"], look["unfamiliar_bias"])
    said = _statements(config, material.new, picture, unfamiliar, recognizer)
    weights, biases = fit_weights(said, targets, rates, known, config.weights, config.seed, report)
    own = np.array([bool(tag.classes) for tag in recognizer.vocabulary]) & (known.decoder < config.weights.known)
    factor, bias = fit_alone([said.classes], [targets], rates, np.flatnonzero(own)) if own.any() else (0.0, 0.0)
    report(f"classifier alone: {factor:.2f} x + {bias:.2f} for {own.sum():,} tags")
    alone = np.where(own[:, None], np.array([factor, bias], np.float32), _SILENT)
    room = np.array([-config.weights.decoder_room, config.weights.decoder_room])
    predictions = (np.stack([said.decoder.min(0), said.decoder.max(0)], axis=1) + room).astype(np.float16)
    # Of tags that only captions speak of, the fit cannot know how wrong they are elsewhere.
    taken = np.where(known.labeled, config.unfamiliar_implied, config.unfamiliar)
    taken[list(material.classes)] = 0
    weights[:, PREDICTORS.index("unfamiliar")] -= taken
    texts = fit_open(config, new, targets, known.decoder, rates, unfamiliar, recognizer, report)
    weighed = {"weights": weights.astype(np.float16), "biases": biases, "alone": alone, "decoder_range": predictions}
    return whole.arrays() | weighed | look | (texts or decoder_alone(recognizer))


def _linear_look(material: Material, inputs: Sequence[NDArray[np.float32]]) -> dict[str, NDArray[np.float32]]:
    """The linear look that tells how unlike captioned pictures a picture is; nothing if all are of one kind."""
    targets = [one for one in (material.seen_targets, material.new_targets) if one is not None]
    described = np.concatenate([one.captions for one in targets]) > 0
    if described.all() or not described.any():
        return {}
    weight, bias = fit_unfamiliarity(np.concatenate(inputs), described)
    return {"unfamiliar_weight": weight, "unfamiliar_bias": bias}


def _digest(config: EvidenceTraining, targets: PartialLabels, inputs: NDArray[np.float32]) -> str:
    """Changes when what a network is made of does."""
    made_of = hashlib.sha256(f"{config.network.model_dump_json()} {config.seed}".encode())
    for array in (targets.values, targets.captions, inputs):
        made_of.update(np.ascontiguousarray(array).tobytes())
    return made_of.hexdigest()[:16]


def _knowledge(material: Material, positives: NDArray[np.int64], recognizer: Recognizer) -> TagKnowledge:
    targets = [one for one in (material.seen_targets, material.new_targets) if one is not None]
    described = _all_targets([one.take(one.captions > 0) for one in targets])
    named = (described.values == TRUE).sum(0)
    seen = material.seen_targets
    classes = recognizer.labels.all().classes
    labels = material.new_targets.take(material.new_targets.captions == 0)
    return TagKnowledge(
        decoder=np.zeros(len(named), np.int64) if seen is None else (seen.values == TRUE).sum(0),
        picture=positives,
        classes=classes.sum(0).astype(np.int64),
        prevalence=np.clip((named + 0.5) / (len(described.captions) + 1), 1e-5, 0.95).astype(np.float32),
        labeled=(labels.values == TRUE).any(0),
    )


def _statements(
    config: EvidenceTraining,
    predictions: Predictions,
    picture: NDArray[np.float32],
    unfamiliar: NDArray[np.float32],
    recognizer: Recognizer,
) -> Statements:
    vocabulary, labels = recognizer.vocabulary, recognizer.labels.all()
    root, general = exclusive_tags(config, vocabulary)
    table = exclusive_classes(vocabulary, predictions.classes.shape[1], root, general)
    said, exclusion, sure = [], [], []
    for start in range(0, len(predictions.classes), _CHUNK):
        probabilities = apply_temperature(np.exp(predictions.classes[start : start + _CHUNK]), config.temperature)
        own = label_probabilities(probabilities, labels.classes_of_all, len(vocabulary))
        stated = classifier_features(probabilities, own, probabilities @ table, config.floor)
        said.append(stated.classes)
        exclusion.append(stated.exclusion)
        sure.append(stated.sure)
    assert predictions.decoder is not None
    classes, excluded, surest = (np.concatenate(parts) for parts in (said, exclusion, sure))
    return Statements(predictions.decoder, picture, classes, excluded, surest, unfamiliar)


def _write(
    folder: Path,
    directory: ModelDirectory,
    config: EvidenceTraining,
    material: Material,
    arrays: dict[str, NDArray[Any]],
) -> None:
    with new_model(folder) as part:
        names = [name for name in directory.config.files if name not in ("vocabulary.json", EVIDENCE_FILE)]
        directory.copy(names, part)
        save_file({name: np.ascontiguousarray(array) for name, array in arrays.items()}, part / EVIDENCE_FILE)
        thresholds = {True: None, False: config.other_threshold}
        TagVocabulary(
            replace(tag, shift=0.0, threshold=thresholds[tag.kind == "object"], threshold_from=None)
            for tag in directory.vocabulary
        ).save(part / "vocabulary.json")
        if "README.md" in names:
            card = (part / "README.md").read_text(encoding="utf-8").partition(f"\n{_HEADING}")[0].rstrip()
            (part / "README.md").write_text(f"{card}\n\n{_section(config, material)}", encoding="utf-8")
        changed = _model_config(directory, config, "class_names" in arrays)
        write_config(part, changed, [*names, "vocabulary.json", EVIDENCE_FILE])


def _model_config(directory: ModelDirectory, config: EvidenceTraining, texts: bool) -> ModelConfig:
    before = directory.config
    root, general = exclusive_tags(config, directory.vocabulary)
    evidence = EvidenceConfig(
        temperature=config.temperature,
        floor=config.floor,
        least=config.least,
        exclusive=root,
        general=general,
        open_floor=config.open.floor,
        sharpness=config.open.sharpness,
    )
    return before.model_copy(
        update={
            "evidence": evidence,
            "class_weight": 0.0,
            "class_support": 0,
            "score_slope": 1.0,
            "open_shift": 0.0,
            "default_threshold": config.object_threshold,
            "open_threshold": config.open.threshold if texts else before.open_threshold,
            "decoding": config.decoding or before.decoding,
        }
    )


def _section(config: EvidenceTraining, material: Material) -> str:
    """What the model card says of the evidence."""
    seen = 0 if material.seen is None else len(material.seen.samples)
    labeled = int((material.new_targets.captions == 0).sum())
    return (
        f"{_HEADING}\nFitted by the recipe `{config.name}` (seed {config.seed}) on {seen:,} pictures that the "
        f"recognition decoder had\nlearned from, {len(material.new.samples) - labeled:,} others with captions, and "
        f"{labeled:,} with a class each. Thresholds are {config.object_threshold:g} for objects and\n"
        f"{config.other_threshold:g} for all other tags.\n"
    )


def _joined(parts: Sequence[tuple[Predictions, PartialLabels]]) -> tuple[Predictions, PartialLabels]:
    return joined([predictions for predictions, _ in parts]), _all_targets([targets for _, targets in parts])


def _all_targets(parts: Sequence[PartialLabels]) -> PartialLabels:
    return PartialLabels(np.concatenate([one.values for one in parts]), np.concatenate([one.captions for one in parts]))


def _true(targets: PartialLabels) -> float:
    return float((targets.values == TRUE).sum() / max(len(targets.values), 1))
