"""Fit the evidence of a model and write the model that has it."""

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
from anytag.training.evidence.network import PictureNetwork, fit_network, network_inputs
from anytag.training.evidence.open_fit import decoder_alone, fit_open
from anytag.training.evidence.partial_labels import TRUE, ClassTargets, PartialLabels, caption_targets, naming_rates
from anytag.training.evidence.predictions import PredictionCache, Predictions, concatenated
from anytag.training.evidence.weights import PredictorFeatures, TrainingCounts, fit_alone, fit_weights
from anytag.training.families.batches import SampleTags
from anytag.training.families.data_sources import find_path, open_sources
from anytag.training.recipes.evidence import EvidenceTraining

#: Pictures whose class probabilities are summed at a time.
_CHUNK = 512

_HEADING = "## Evidence"

#: Slope and intercept of the classifier's own log-odds for tags that it must not decide alone.
_NEVER_ALONE = np.array([0, -99], np.float32)


def fit_evidence(
    config: EvidenceTraining, data: Path, folder: Path, cache: Path, recognizer: Recognizer, report: Report
) -> None:
    """Fit the evidence of a model; see :func:`~anytag.training.evidence.run.fit_recipe`."""
    directory = recognizer.directory
    if not directory.config.image_encoder.classes:
        raise UsageError(f"{directory.path}: its image encoder has no classifier, so there is no evidence to fit")
    examples = _load_examples(config, data, cache, folder, recognizer, report)
    arrays = _fit(config, examples, recognizer, folder, report)
    _write(folder / "model", directory, config, examples, arrays)


@dataclass(frozen=True)
class _Examples:
    """Pictures to fit evidence on.

    Attributes:
        seen: Pictures that the decoder was trained on; ``None`` if there are none.
        new: All other pictures.
        rates: ``[T]``, probability that one caption names a tag that is there.
        classes: Tags that are a class of some collection, or ``absent`` from its pictures, so that pictures with a
            class are labeled with them.
    """

    seen: tuple[Predictions, PartialLabels] | None
    new: tuple[Predictions, PartialLabels]
    rates: NDArray[np.float64]
    classes: frozenset[int]

    @property
    def all(self) -> list[tuple[Predictions, PartialLabels]]:
        return [self.new] if self.seen is None else [self.seen, self.new]


def _load_examples(
    config: EvidenceTraining, data: Path, cache: Path, folder: Path, recognizer: Recognizer, report: Report
) -> _Examples:
    """Predict all pictures, and read their annotations; unreadable ones are listed in ``bad-samples.jsonl``.

    Raises:
        UsageError: If data are missing, or do not match the recipe.
    """
    vocabulary = recognizer.vocabulary
    parser = ParsedCaptions(load_parser(config.parser), cache)
    tags = SampleTags(vocabulary, parser)
    predict = PredictionCache(recognizer, cache, report, JsonLinesLog(folder / "bad-samples.jsonl"))
    root, general = _exclusive_tags(config, vocabulary)
    examples: dict[bool, list[tuple[Predictions, PartialLabels]]] = {True: [], False: []}
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
            class_targets = ClassTargets(find_path(group.collections, data), tags, root, general, absent)
            targets = class_targets(predictions.samples)
            classes |= class_targets.classes | set(absent)
        examples[group.seen].append((predictions, targets))
        count = float((targets.values == TRUE).sum() / max(len(targets.values), 1))
        report(f"{source.identity}: {len(predictions.samples):,} pictures, {count:.1f} true tags a picture")
    parser.flush()
    rates = naming_rates(described, tags)
    seen = _concatenated(examples[True]) if examples[True] else None
    return _Examples(seen, _concatenated(examples[False]), rates, frozenset(classes))


def _exclusive_tags(config: EvidenceTraining, vocabulary: TagVocabulary) -> tuple[int | None, tuple[int, ...]]:
    """Return ``root`` and ``general`` of :func:`~anytag.inference.evidence.exclusive_classes`.

    Raises:
        UsageError: If the model lacks ``exclusive``; ``general`` tags that it lacks are skipped.
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


def _fit(
    config: EvidenceTraining, examples: _Examples, recognizer: Recognizer, folder: Path, report: Report
) -> dict[str, NDArray[Any]]:
    """Return the arrays of ``evidence.safetensors``.

    The network is trained on all pictures. Weights are fitted by cross-validation: on predictions of networks that were
    not trained on those pictures, which are less certain. Trained networks are kept in the run folder.
    """
    new, targets = examples.new
    inputs = network_inputs(new, config.least)
    seen_inputs, seen_targets = [], []
    if examples.seen is not None:
        seen_inputs, seen_targets = [network_inputs(examples.seen[0], config.least)], [examples.seen[1]]

    def network(name: str, rows: NDArray[np.bool_]) -> PictureNetwork:
        train_targets = _all_targets([*seen_targets, targets.take(rows)])
        train_inputs = np.concatenate([*seen_inputs, inputs[rows]])
        path = folder / f"network-{_digest(config, train_targets, train_inputs)}.safetensors"
        if not path.exists():
            report(f"network {name}")
            fit_network(train_inputs, train_targets, examples.rates, config.network, config.seed, report).save(path)
        return PictureNetwork.load(path, config.network)

    fold = np.random.default_rng(config.seed).permutation(len(inputs)) % config.weights.folds
    picture = np.zeros(targets.values.shape, np.float32)
    for number in range(config.weights.folds):
        name = f"{number + 1}/{config.weights.folds} of those that weights are fitted with"
        picture[fold == number] = network(name, fold != number).predict(inputs[fold == number])
    whole = network("of the model", np.ones(len(inputs), np.bool_))
    counts = _training_counts(examples, whole.positives.numpy(), recognizer)
    probe = _familiarity_probe(examples, [*seen_inputs, inputs])
    unfamiliar = np.zeros(len(inputs), np.float32)
    if probe:
        unfamiliar = unfamiliarity(inputs, probe["unfamiliar_weight"], probe["unfamiliar_bias"])
    features = _predictor_features(config, new, picture, unfamiliar, recognizer)
    weights, biases = fit_weights(features, targets, examples.rates, counts, config.weights, config.seed, report)
    has_class = np.array([bool(tag.classes) for tag in recognizer.vocabulary]) & (counts.decoder < config.weights.known)
    slope, bias = 0.0, 0.0
    if has_class.any():
        slope, bias = fit_alone(features.classes, targets, examples.rates, np.flatnonzero(has_class))
    report(f"classifier alone: {slope:.2f} x + {bias:.2f} for {has_class.sum():,} tags")
    alone = np.where(has_class[:, None], np.array([slope, bias], np.float32), _NEVER_ALONE)
    room = np.array([-config.weights.decoder_room, config.weights.decoder_room])
    decoder_range = (np.stack([features.decoder.min(0), features.decoder.max(0)], axis=1) + room).astype(np.float16)
    # The fit cannot measure false alarms on uncaptioned pictures for tags that only captions name.
    penalty = np.where(counts.labeled, config.unfamiliar_implied, config.unfamiliar)
    penalty[list(examples.classes)] = 0
    weights[:, PREDICTORS.index("unfamiliar")] -= penalty
    texts = fit_open(config, new, targets, counts.decoder, examples.rates, unfamiliar, recognizer, report)
    fitted = {"weights": weights.astype(np.float16), "biases": biases, "alone": alone, "decoder_range": decoder_range}
    return whole.arrays() | fitted | probe | (texts or decoder_alone(recognizer))


def _familiarity_probe(examples: _Examples, inputs: Sequence[NDArray[np.float32]]) -> dict[str, NDArray[np.float32]]:
    """Fit the linear probe for pictures unlike captioned ones; empty if all pictures are of one kind."""
    described = np.concatenate([targets.captions for _, targets in examples.all]) > 0
    if described.all() or not described.any():
        return {}
    weight, bias = fit_unfamiliarity(np.concatenate(inputs), described)
    return {"unfamiliar_weight": weight, "unfamiliar_bias": bias}


def _digest(config: EvidenceTraining, targets: PartialLabels, inputs: NDArray[np.float32]) -> str:
    """Hash everything that a network depends on."""
    digest = hashlib.sha256(f"{config.network.model_dump_json()} {config.seed}".encode())
    for array in (targets.values, targets.captions, inputs):
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()[:16]


def _training_counts(examples: _Examples, positives: NDArray[np.int64], recognizer: Recognizer) -> TrainingCounts:
    described = _all_targets([targets.take(targets.captions > 0) for _, targets in examples.all])
    named = (described.values == TRUE).sum(0)
    new = examples.new[1]
    labels = new.take(new.captions == 0)
    return TrainingCounts(
        decoder=np.zeros_like(named) if examples.seen is None else (examples.seen[1].values == TRUE).sum(0),
        picture=positives,
        classes=recognizer.labels.all().classes.sum(0).astype(np.int64),
        prevalence=np.clip((named + 0.5) / (len(described.captions) + 1), 1e-5, 0.95).astype(np.float32),
        labeled=(labels.values == TRUE).any(0),
    )


def _predictor_features(
    config: EvidenceTraining,
    predictions: Predictions,
    picture: NDArray[np.float32],
    unfamiliar: NDArray[np.float32],
    recognizer: Recognizer,
) -> PredictorFeatures:
    vocabulary, labels = recognizer.vocabulary, recognizer.labels.all()
    root, general = _exclusive_tags(config, vocabulary)
    table = exclusive_classes(vocabulary, predictions.classes.shape[1], root, general)
    parts = []
    for start in range(0, len(predictions.classes), _CHUNK):
        probabilities = apply_temperature(np.exp(predictions.classes[start : start + _CHUNK]), config.temperature)
        own = label_probabilities(probabilities, labels.classes_of_all, len(vocabulary))
        parts.append(classifier_features(probabilities, own, probabilities @ table, config.floor))
    classes, exclusion, sure = (
        np.concatenate([getattr(part, name) for part in parts]) for name in ("classes", "exclusion", "sure")
    )
    assert predictions.decoder is not None
    return PredictorFeatures(predictions.decoder, picture, classes, exclusion, sure, unfamiliar)


def _write(
    folder: Path,
    directory: ModelDirectory,
    config: EvidenceTraining,
    examples: _Examples,
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
            (part / "README.md").write_text(f"{card}\n\n{_model_card_section(config, examples)}", encoding="utf-8")
        changed = _model_config(directory, config, "class_names" in arrays)
        write_config(part, changed, [*names, "vocabulary.json", EVIDENCE_FILE])


def _model_config(directory: ModelDirectory, config: EvidenceTraining, texts: bool) -> ModelConfig:
    before = directory.config
    root, general = _exclusive_tags(config, directory.vocabulary)
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


def _model_card_section(config: EvidenceTraining, examples: _Examples) -> str:
    new, targets = examples.new
    seen = 0 if examples.seen is None else len(examples.seen[0].samples)
    labeled = int((targets.captions == 0).sum())
    return (
        f"{_HEADING}\nFitted by the recipe `{config.name}` (seed {config.seed}) on {seen:,} pictures that the "
        f"recognition decoder had\nlearned from, {len(new.samples) - labeled:,} others with captions, and "
        f"{labeled:,} with a class each. Thresholds are {config.object_threshold:g} for objects and\n"
        f"{config.other_threshold:g} for all other tags.\n"
    )


def _concatenated(parts: Sequence[tuple[Predictions, PartialLabels]]) -> tuple[Predictions, PartialLabels]:
    return concatenated([predictions for predictions, _ in parts]), _all_targets([targets for _, targets in parts])


def _all_targets(parts: Sequence[PartialLabels]) -> PartialLabels:
    return PartialLabels(np.concatenate([one.values for one in parts]), np.concatenate([one.captions for one in parts]))
