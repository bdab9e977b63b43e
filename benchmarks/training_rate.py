"""Measure pictures a second in training: ``python benchmarks/training_rate.py --data DIR [--cache CACHE]``.

Against a plain PyTorch loop of the same model, which has neither log, checkpoints, moving average nor bad pictures; the
two take turns within one run. ``cached``: the stage of ``recipes/lite.py`` that trains decoders on cached features; the
plain loop has its batches in memory before. ``end to end``: ``recipes/finetune_tags.py``, the shipped model whole, from
JPEGs of 640 x 480; the plain loop reads the same pictures through ``torch.utils.data.DataLoader``. Ours writes a
checkpoint in every turn, more often than the recipes do.
"""

from __future__ import annotations

import argparse
import json
import random
import tempfile
from collections.abc import Iterator
from itertools import cycle
from pathlib import Path
from typing import Any

import torch
from _common import RESULTS, ROOT, add_data_argument, machine, print_targets, table, target, write_result
from _pictures import make_folder
from _training_turns import PlainLoop, Turns
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from anytag.datasets.sources import IndexedSource
from anytag.nn.model import RecognitionModel
from anytag.training.engine.allocator import keep_freed_memory
from anytag.training.engine.loop import TrainingLoop
from anytag.training.families import pretraining
from anytag.training.families.data_sources import open_sources
from anytag.training.families.initialization import begin, find_start
from anytag.training.families.pair_source import PairBatches, PairExample, PairLoader, SampleTags
from anytag.training.lite.objective import Objective
from anytag.training.lite.pairs import Batcher
from anytag.training.lite.prepare import prepare
from anytag.training.lite.steps import LiteStep
from anytag.training.recipes import load_recipe

#: As fast as the plain loop, but for so much.
LEAST = 0.95
TAGS = tuple(f"tag {number}" for number in range(40))


def measure_cached(data: Path, cache: Path, rounds: int, steps: int, unseen: int) -> dict[str, Any]:
    """The stage ``decoders`` of the lite recipe, on the features of one shard."""
    recipe = load_recipe(str(ROOT / "recipes" / "lite.py"))
    shards = {"train": ("coco20k/coco20k-000000.tar",), "validation": ("coco20k/coco20k-000019.tar",)}
    sources = recipe.data.model_copy(update=shards | {"texts": (), "views": 1})
    stage = recipe.stages[0].model_copy(update={"views": 1})
    recipe = recipe.model_copy(update={"data": sources, "stages": (stage,)})
    prepared = prepare(recipe, data, cache)
    batcher = Batcher(
        prepared.pairs,
        prepared.texts,
        prepared.vocabulary,
        batch_size=recipe.batch_size,
        text_batch_size=0,
        views=1,
        loss=recipe.loss,
        seed=recipe.seed,
    )
    objective = Objective(recipe.loss, prepared.label_embeddings, prepared.prompts)
    plain_model, own_model = (_lite_model(prepared.config.model, len(prepared.vocabulary)) for _ in range(2))
    plain = PlainLoop(
        plain_model,
        lambda batch: _plain_loss(plain_model, objective, batch),
        cycle([batcher.batch(number) for number in range(batcher.steps_per_epoch)]),
        recipe.precision,
        recipe.betas,
        recipe.gradient_clip,
        stage.learning_rate / 2,  # The mean of a rise and a cosine.
    )
    turns = Turns(plain, rounds, steps, unseen)
    epochs = turns.epochs(batcher.steps_per_epoch)
    config = prepared.config.model_copy(
        update={
            "stages": (stage.model_copy(update={"epochs": epochs}),),
            "save_every": turns.length,
            "validate_every": 1_000_000,
        }
    )
    prepared.config = config
    with tempfile.TemporaryDirectory() as folder:
        untouched = own_model.image_encoder
        own = LiteStep(prepared, batcher, [objective], untouched, None, Path(folder), print)

        def step(model: nn.Module, number: int, stage: Any, share: Any) -> tuple[Tensor, dict[str, float]]:
            turns.before_step()
            return own(model, number, stage, share)

        loop = TrainingLoop(config, own_model, step, lambda *_: {}, batcher.steps_per_epoch, Path(folder))
        loop.run()
    return turns.figures(recipe.batch_size)


def _lite_model(config: Any, tags: int) -> RecognitionModel:
    """What the stage trains: everything but the image encoder."""
    torch.manual_seed(0)
    model = RecognitionModel(config, tags).train()
    model.image_encoder.to(memory_format=torch.channels_last).requires_grad_(False)
    return model


def _plain_loss(model: RecognitionModel, objective: Objective, batch: Any) -> Tensor:
    with torch.no_grad():
        tokens = model.image_encoder.crown(batch.maps)
    loss, _ = objective(model, batch, tokens)
    return loss


class LoadedPictures(Dataset[PairExample]):
    """The pictures of a source, decoded and augmented as ours are, for PyTorch's own loader."""

    def __init__(self, source: IndexedSource, load: PairLoader):
        self._source, self._load = source, load

    def __len__(self) -> int:
        return len(self._source)

    def __getitem__(self, index: int) -> PairExample:
        """One picture; every pass sees it the same way, which costs no less than another view."""
        return self._load(self._source[index], 0)


def _as_list(examples: list[PairExample]) -> list[PairExample]:
    return examples


def measure_end_to_end(pictures: int, workers: int, rounds: int, steps: int, unseen: int) -> dict[str, Any]:
    """The last stage of fine-tuning on own tags, on JPEGs made of the example pictures."""
    recipe = load_recipe(str(ROOT / "recipes" / "finetune_tags.py"))
    with tempfile.TemporaryDirectory() as made:
        data, run = Path(made) / "pictures", Path(made) / "run"
        data.mkdir()
        draw = random.Random(0)
        for path in make_folder(data, pictures):
            path.with_suffix(".json").write_text(json.dumps({"tags": draw.sample(TAGS, 3)}))
        epochs = (rounds * (steps + unseen) + 1) / (pictures // recipe.batch_size)
        stage = recipe.stages[-1].model_copy(update={"epochs": epochs})
        changes = {"stages": (stage,), "save_every": steps + unseen, "validate_every": 1_000_000}
        config = recipe.model_copy(update=changes)
        turns: list[Turns] = []

        class TakesTurns(PairBatches):
            """Our batches; before each of our steps the plain loop may have its turn."""

            def draw(self, size: int) -> Any:
                if not turns:  # The loader's processes are made before ours has threads.
                    plain = _plain_end_to_end(config, data, Path(made), self, workers)
                    turns.append(Turns(plain, rounds, steps, unseen))
                turns[0].before_step()
                return super().draw(size)

        original, pretraining.PairBatches = pretraining.PairBatches, TakesTurns  # type: ignore[misc]
        try:
            pretraining.pretrain(config, data, run)
        finally:
            pretraining.PairBatches = original  # type: ignore[misc]
        return turns[0].figures(recipe.batch_size)


def _plain_end_to_end(config: Any, data: Path, made: Path, ours: PairBatches, workers: int) -> PlainLoop:
    """A plain loop of the same model on the same pictures."""
    sources = open_sources(config.sources, data, None)
    start = begin(config, data, made / "cache", find_start(config.start, data), sources, None)
    learner = pretraining.make_learner(config, start, 1, config.batch_size).train()
    (source,) = sources
    assert isinstance(source, IndexedSource)
    tags = SampleTags(start.vocabulary, None)
    resolution = start.config.image_encoder.resolution
    load = PairLoader(tags, resolution, config.augmentation, config.tags, config.words, config.seed)
    loader = DataLoader(
        LoadedPictures(source, load),
        config.batch_size,
        shuffle=True,
        drop_last=True,
        num_workers=workers,
        persistent_workers=workers > 0,
        collate_fn=_as_list,
    )

    def batches() -> Iterator[Any]:
        while True:
            yield from map(ours.collate, loader)

    return PlainLoop(
        learner,
        lambda batch: learner(batch)[0],
        batches(),
        config.precision,
        config.betas,
        config.gradient_clip,
        config.stages[-1].learning_rate / 2,
    )


def report(record: dict[str, Any]) -> None:
    """Print the figures, and put them beside their target."""
    rows, targets = [], []
    for kind in ("cached", "end to end"):
        if not (found := record.get(kind)):
            continue
        for name in ("ours", "plain"):
            rows.append([kind, name, found[name]["per_second"], found[name]["per_cpu_second"]])
        targets.append(target(f"{kind}: ours against a plain loop", found["ratio_wall"], LEAST, True, "x"))
        targets.append(target(f"{kind}: the same, by processor time", found["ratio_cpu"], LEAST, True, "x"))
    table("Pictures in training", ["", "", "a second", "a processor second"], rows)
    record["targets"] = targets
    print_targets(targets)


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_data_argument(arguments)
    arguments.add_argument(
        "--cache", type=Path, help="folder of cached features; filled if need be (default: none kept)"
    )
    arguments.add_argument("--only", choices=("cached", "end-to-end"))
    arguments.add_argument("--rounds", type=int, default=3, help="turns of each")
    arguments.add_argument("--steps", type=int, help="steps of a turn (default: 40 on cached features, 10 end to end)")
    arguments.add_argument("--unseen", type=int, default=5, help="steps before them that do not count")
    arguments.add_argument("--pictures", type=int, default=512, help="JPEGs to read, end to end")
    arguments.add_argument("--workers", type=int, default=2, help="processes of PyTorch's loader, end to end")
    arguments.add_argument("--out", type=Path, default=RESULTS / "training_rate.json")
    options = arguments.parse_args()
    keep_freed_memory()  # As ``anytag train`` does; both loops gain by it.
    record: dict[str, Any] = {"machine": machine()}
    if options.only != "cached":
        turns = (options.rounds, options.steps or 10, options.unseen)
        record["end to end"] = measure_end_to_end(options.pictures, options.workers, *turns)
    if options.only != "end-to-end":
        turns = (options.rounds, options.steps or 40, options.unseen)
        with tempfile.TemporaryDirectory() as made:
            record["cached"] = measure_cached(options.data, options.cache or Path(made), *turns)
    report(record)
    write_result(options.out, record)


if __name__ == "__main__":
    main()
