"""Measure pictures per second in training: ``python benchmarks/training_rate.py --data DIR [--cache CACHE]``.

Compares our loop with a plain PyTorch loop of the same model, without log, checkpoints, moving average or handling of
bad pictures; the two take turns within one run. ``cached``: the stage of ``recipes/lite.py`` that trains decoders on
cached features; the plain loop has its batches in memory. ``end to end``: ``recipes/finetune_tags.py:network``, the
whole shipped model, from JPEGs of 640 x 480; the plain loop reads the same pictures through
``torch.utils.data.DataLoader``. Ours writes a checkpoint in every turn, more often than the recipes do.
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

from _common import RESULTS, ROOT, add_data_argument, machine, print_targets, table, target, write_result
from _pictures import make_folder
from _training_turns import PlainLoop, Turns
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from anytag.datasets.bad_samples import JsonLinesLog
from anytag.datasets.sources import IndexedSource
from anytag.language.parsing.parser import load_parser
from anytag.training.engine.allocator import keep_freed_memory
from anytag.training.engine.distributed import Share, Strategy
from anytag.training.engine.loop import TrainingLoop
from anytag.training.engine.task import Setup
from anytag.training.families import setup
from anytag.training.families.batches import Example, ExampleLoader, SampleTags, StreamBatches
from anytag.training.families.data_sources import open_data
from anytag.training.families.initialization import find_start, initialize_model
from anytag.training.lite.setup import set_up as lite_setup
from anytag.training.recipes.config import TrainingConfig
from anytag.training.recipes.loading import load_recipe
from anytag.training.run import train

#: Target: this share of the plain loop's speed.
LEAST = 0.95
TAGS = tuple(f"tag {number}" for number in range(40))


def measure_cached(data: Path, cache: Path, rounds: int, steps: int, unseen: int) -> dict[str, Any]:
    """The stage ``decoders`` of the lite recipe, on the features of one shard."""
    recipe = load_recipe(str(ROOT / "recipes" / "lite.py"))
    stage = recipe.stages[0].model_copy(update={"views": 1})
    changes = {
        "sources": ("coco20k/coco20k-000000.tar",),
        "validation": (),
        "texts": (),
        "text_batch_size": 0,
        "views": 1,
        "stages": (stage,),
    }
    recipe = recipe.model_copy(update=changes)
    with tempfile.TemporaryDirectory() as folder:
        plain_setup, own = (_set_up(recipe, data, cache, Path(folder)) for _ in range(2))
        batches = [plain_setup.batches.draw(number, stage, Share()) for number in range(own.steps_per_epoch)]
        task = plain_setup.task.train()
        task.model.image_encoder.requires_grad_(False)
        plain = PlainLoop(
            task,
            lambda batch: task(batch, stage)[0],
            cycle(batches),
            recipe.precision,
            recipe.betas,
            recipe.gradient_clip,
            stage.learning_rate / 2,  # The mean of a warm-up and a cosine.
        )
        turns = Turns(plain, rounds, steps, unseen)
        epochs = turns.epochs(own.steps_per_epoch)
        changes = {
            "stages": (stage.model_copy(update={"epochs": epochs}),),
            "save_every": turns.length,
            "validate_every": 1_000_000,
        }
        config = recipe.model_copy(update=changes)

        def step(model: nn.Module, number: int, stage: Any, share: Any) -> tuple[Tensor, dict[str, float]]:
            turns.before_step()
            loss: tuple[Tensor, dict[str, float]] = model(own.batches.draw(number, stage, share), stage)
            return loss

        loop = TrainingLoop(config, own.task, step, lambda *_: {}, own.steps_per_epoch, Path(folder))
        loop.run()
    return turns.figures(recipe.batch_size)


def _set_up(config: TrainingConfig, data: Path, cache: Path, folder: Path) -> Setup:
    """As a run of the recipe does; features are cached once for both."""
    given = open_data(config, data, None, JsonLinesLog(folder / "bad-samples.jsonl"))
    parser = load_parser("light")
    start = initialize_model(config, given, cache, None, parser)
    given.tags = SampleTags(start.vocabulary, parser)
    return lite_setup(config, start, given, Strategy(), folder, cache, print)


class LoadedPictures(Dataset[Example]):
    """The pictures of a source, decoded and augmented like ours, for PyTorch's own loader."""

    def __init__(self, source: IndexedSource, load: ExampleLoader):
        self._source, self._load = source, load

    def __len__(self) -> int:
        return len(self._source)

    def __getitem__(self, index: int) -> Example:
        """Load one picture, with the same view in every pass, which costs as much as a new view."""
        return self._load(self._source[index], 0)


def _as_list(examples: list[Example]) -> list[Example]:
    return examples


def measure_end_to_end(pictures: int, workers: int, rounds: int, steps: int, unseen: int) -> dict[str, Any]:
    """The last stage of fine-tuning on own tags, on JPEGs made of the example pictures."""
    recipe = load_recipe(f"{ROOT / 'recipes' / 'finetune_tags.py'}:network")
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

        class TakesTurns(StreamBatches):
            """Our batches; the plain loop may take its turn before each of our steps."""

            def draw(self, *arguments: Any) -> Any:
                if not turns:  # Start the loader's processes before ours has threads.
                    plain = _plain_end_to_end(config, data, Path(made), self, workers)
                    turns.append(Turns(plain, rounds, steps, unseen))
                turns[0].before_step()
                return super().draw(*arguments)

        original, setup.StreamBatches = setup.StreamBatches, TakesTurns  # type: ignore[misc]
        try:
            train(config, data, run)
        finally:
            setup.StreamBatches = original  # type: ignore[misc]
        return turns[0].figures(recipe.batch_size)


def _plain_end_to_end(config: Any, data: Path, made: Path, ours: StreamBatches, workers: int) -> PlainLoop:
    """A plain loop of the same model on the same pictures."""
    given = open_data(config, data, None, JsonLinesLog(made / "bad-samples.jsonl"))
    start = initialize_model(config, given, made / "cache", find_start(config.start, data), None)
    task = setup.make_task(config, start, 1, config.batch_size).train()
    (source,) = given.sources
    assert isinstance(source, IndexedSource)
    tags = SampleTags(start.vocabulary, None)
    preprocessing = start.config.image_encoder.preprocessing
    load = ExampleLoader(tags, preprocessing, config.augmentation, config.tags, config.words, config.seed)
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
        task,
        lambda batch: task(batch)[0],
        batches(),
        config.precision,
        config.betas,
        config.gradient_clip,
        config.stages[-1].learning_rate / 2,
    )


def report(record: dict[str, Any]) -> None:
    """Print the figures and their target."""
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
        "--cache", type=Path, help="folder of cached features, filled if necessary (default: a temporary one)"
    )
    arguments.add_argument("--only", choices=("cached", "end-to-end"))
    arguments.add_argument("--rounds", type=int, default=3, help="turns of each loop")
    arguments.add_argument(
        "--steps", type=int, help="measured steps per turn (default: 40 on cached features, 10 end to end)"
    )
    arguments.add_argument("--unseen", type=int, default=5, help="unmeasured steps before them")
    arguments.add_argument("--pictures", type=int, default=512, help="JPEGs to read, end to end")
    arguments.add_argument("--workers", type=int, default=2, help="processes of PyTorch's loader, end to end")
    arguments.add_argument("--out", type=Path, default=RESULTS / "training_rate.json")
    options = arguments.parse_args()
    keep_freed_memory()  # As ``anytag train`` does; both loops benefit.
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
