"""Base classes of rivals: picture transforms, batches that skip unreadable pictures, strict checkpoint loading."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor, nn

from anytag.checkpoints.weight_files import read_pickled, read_settings
from anytag.errors import ModelError, PictureError, UsageError, first_line, needs_extra
from anytag.evaluation.caption_tags import CategoryParser
from anytag.evaluation.systems import Paradigm, Scores, default_vocabulary, folder_identity, parsed_scores
from anytag.foundations.wording import counted, listed
from anytag.pictures import CLIP, Normalization, PictureSource, read_picture
from anytag.recognition import Failure

_Result = TypeVar("_Result")

BATCH = 8


@dataclass(frozen=True)
class PictureTransform:
    """Resize pictures to ``height`` by ``width`` pixels, and normalize them.

    Attributes:
        shorter: Resize the shorter side to this, then crop the center; ``None``: stretch the picture.
    """

    height: int
    width: int
    shorter: int | None = None
    normalization: Normalization = CLIP
    resampling: Image.Resampling = Image.Resampling.BICUBIC

    def __call__(self, picture: Image.Image) -> NDArray[np.float32]:
        """Return pixels ``[3, H, W]``."""
        if self.shorter is None:
            picture = picture.resize((self.width, self.height), self.resampling)
        else:
            scale = self.shorter / min(picture.size)
            # The longer side is rounded down to whole pixels, as torchvision does.
            size = [self.shorter if side == min(picture.size) else int(side * scale) for side in picture.size]
            picture = picture.resize((size[0], size[1]), self.resampling)
            left, top = round((size[0] - self.width) / 2), round((size[1] - self.height) / 2)
            picture = picture.crop((left, top, left + self.width, top + self.height))
        return self.normalization.apply(np.asarray(picture))


def read_transform(folder: Path) -> PictureTransform:
    """Read the transform from ``preprocessor_config.json`` of a ``transformers`` directory.

    Raises:
        ModelError: If there is no such file, or it contains no size.
    """
    record = read_settings(folder / "preprocessor_config.json")
    record = record.get("image_processor", record)
    size, crop = record.get("size"), record.get("crop_size")
    cut = bool(record.get("do_center_crop", False))

    def sides(value: Any) -> tuple[int, int] | None:
        if isinstance(value, int):
            return value, value
        if isinstance(value, dict) and "height" in value and "width" in value:
            return int(value["height"]), int(value["width"])
        return None

    shorter = size.get("shortest_edge") if isinstance(size, dict) else size if cut and isinstance(size, int) else None
    final = sides(crop) if cut else sides(size)
    if final is None:
        raise ModelError(f"{folder / 'preprocessor_config.json'}: contains no height and width ({size!r}, {crop!r})")
    mean, std = (tuple(map(float, record.get(name) or fallback)) for name, fallback in (
        ("image_mean", CLIP.mean), ("image_std", CLIP.std)))  # fmt: skip
    if record.get("do_normalize") is False:
        mean, std = (0.0, 0.0, 0.0), (1.0, 1.0, 1.0)
    resample = int(record.get("resample", Image.Resampling.BICUBIC))
    return PictureTransform(
        *final,
        shorter=None if shorter is None else int(shorter),
        normalization=Normalization((mean[0], mean[1], mean[2]), (std[0], std[1], std[2])),
        resampling=Image.Resampling(resample if resample in list(Image.Resampling) else Image.Resampling.BICUBIC),
    )


@contextmanager
def _without_progress_bars() -> Iterator[None]:
    """Hide the progress bars of ``transformers``: local weights are read in a moment."""
    from transformers.utils import logging

    enabled = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if enabled:
            logging.enable_progress_bar()


def from_directory(cls_name: str, folder: Path, **options: Any) -> Any:
    """Load an object of a ``transformers`` class from a local directory.

    Raises:
        MissingExtraError: If ``transformers`` is not installed.
        ModelError: If the directory does not contain one.
    """
    with needs_extra("This baseline", "baselines"):
        import transformers
    if not folder.is_dir():
        raise ModelError(f"{folder}: no such directory; download the weights first, or give hub:OWNER/NAME")
    try:
        with _without_progress_bars():
            return getattr(transformers, cls_name).from_pretrained(str(folder), local_files_only=True, **options)
    except (OSError, ValueError, KeyError, RuntimeError, ImportError, TypeError, AttributeError) as error:
        raise ModelError(f"{folder}: cannot be loaded as {cls_name} ({first_line(error)})") from error


def model_from_directory(cls_name: str, folder: Path) -> Any:
    """Load a ``transformers`` model in eval mode and without gradients.

    Raises:
        ModelError: If a weight is missing: it would be random.
    """
    model, info = from_directory(cls_name, folder, output_loading_info=True)
    missing = sorted(info.get("missing_keys", ()))
    if missing:
        raise ModelError(
            f"{folder}: lacks {missing[0]} ({counted(len(missing), 'weight')}); it is not a {cls_name}, or incomplete"
        )
    return model.eval().requires_grad_(False)


def read_checkpoint(
    path: Path, inside: Sequence[str] = ("model", "state_dict")
) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Read the weights and the other entries of a PyTorch checkpoint, without executing code in it.

    Args:
        inside: Keys that may contain the state dict.

    Raises:
        ModelError: If it is missing, damaged, or contains no weights.
    """
    record = read_pickled(path)
    if not isinstance(record, dict):
        raise ModelError(f"{path}: not a checkpoint: a {type(record).__name__}")
    state = next((record[key] for key in inside if isinstance(record.get(key), dict)), record)
    weights = {str(name).removeprefix("module."): t for name, t in state.items() if isinstance(t, Tensor)}
    if not weights:
        raise ModelError(f"{path}: contains no weights")
    bad = next((name for name, t in weights.items() if t.is_floating_point() and not t.isfinite().all()), None)
    if bad:
        raise ModelError(f"{path}: the weight {bad} contains values that are not finite; download it again")
    rest = {key: value for key, value in record.items() if not isinstance(value, Tensor)}
    return {name: t.float() if t.is_floating_point() else t for name, t in weights.items()}, rest


def load_strictly(model: nn.Module, state: Mapping[str, Tensor], source: Path) -> None:
    """Load a state dict whose names and shapes match the model exactly, and switch to eval mode.

    Raises:
        ModelError: Naming a weight that is missing, unexpected or of another shape.
    """
    expected = model.state_dict()
    if missing := sorted(expected.keys() - state.keys()):
        raise ModelError(f"{source}: lacks {missing[0]} ({counted(len(missing), 'weight')})")
    if surplus := sorted(state.keys() - expected.keys()):
        raise ModelError(f"{source}: {surplus[0]} is not part of this model ({counted(len(surplus), 'such weight')})")
    for name, tensor in state.items():
        if tensor.shape != expected[name].shape:
            raise ModelError(
                f"{source}: {name} has the shape {tuple(tensor.shape)}, {tuple(expected[name].shape)} is expected"
            )
    model.load_state_dict(dict(state))
    model.eval().requires_grad_(False)


class Baseline(ABC):
    """A rival system.

    Args:
        path: Its weights, for the identity.
        transform: Preprocesses pictures; ``None``: they are passed on as they are.
        settings: Other settings that its scores depend on, for the identity.

    Attributes:
        title: Name in the papers' tables.
        paradigm: See :class:`~anytag.evaluation.systems.System`; so is ``parser``.
    """

    title: str
    paradigm: Paradigm
    parser: CategoryParser | None = None

    def __init__(self, path: Path, transform: PictureTransform | None, settings: str = ""):
        self.transform = transform
        self.identity = f"{type(self).__name__} {settings} {folder_identity(path)}"

    def set_categories(self, names: Sequence[str], synonyms: dict[str, tuple[str, ...]]) -> list[str]:
        """Set the categories to score; see :class:`~anytag.evaluation.systems.System`."""
        raise UsageError(f"{self.title} scores no categories")

    def scores(self, pictures: Iterable[PictureSource]) -> Iterator[Scores | Failure]:
        """Yield the scores of each picture, ``[C]``, or why it could not be read."""
        return self._predict(pictures, self.score)

    def captions(self, pictures: Iterable[PictureSource]) -> Iterator[str | Failure]:
        """Yield a caption of each picture, or why it could not be read."""
        return self._predict(pictures, self.write)

    def score(self, pictures: Any) -> Scores:
        """Score pixels ``[B, 3, H, W]``, or pictures where there is no transform: ``[B, C]``."""
        raise UsageError(f"{self.title} scores no categories")

    def write(self, pictures: Any) -> list[str]:
        """Caption pixels ``[B, 3, H, W]``, or pictures where there is no transform."""
        raise UsageError(f"{self.title} writes no captions")

    def thresholds(self) -> NDArray[np.float64] | None:
        """Rivals have no thresholds of their own."""
        return None

    def _predict(
        self, pictures: Iterable[PictureSource], predict: Callable[[Any], Iterable[_Result]]
    ) -> Iterator[_Result | Failure]:
        numbered = enumerate(pictures, 1)
        while batch := list(islice(numbered, BATCH)):
            ready: list[Any] = []
            failures: list[Failure | None] = []
            for number, source in batch:
                label = str(source) if isinstance(source, str | Path) else f"picture {number}"
                try:
                    picture = read_picture(source, label=label)
                    ready.append(picture if self.transform is None else self.transform(picture))
                    failures.append(None)
                except PictureError as error:
                    failures.append(Failure(error.path, error.kind, str(error)))
            stacked = ready if self.transform is None or not ready else torch.from_numpy(np.stack(ready))
            results = iter(predict(stacked) if ready else ())
            for failure in failures:
                yield failure if failure is not None else next(results)


class FixedClassesBaseline(Baseline):
    """A rival that was trained on a fixed list of classes."""

    #: Output of each class, by its name in lower case.
    places: dict[str, int]
    _columns: tuple[int | None, ...] = ()

    def set_categories(self, names: Sequence[str], synonyms: dict[str, tuple[str, ...]]) -> list[str]:
        """Map the categories to its classes by their names or synonyms.

        Raises:
            ModelError: If it has none of them.
        """

        def place(name: str) -> int | None:
            known = (self.places.get(one.lower()) for one in (name, *synonyms.get(name, ())))
            return next((found for found in known if found is not None), None)

        self._columns = tuple(map(place, names))
        missing = [name for name, column in zip(names, self._columns, strict=True) if column is None]
        if len(missing) == len(names):
            classes = len(set(self.places.values()))
            raise ModelError(
                f"{self.title}: none of the categories ({listed(names)}) is among its {counted(classes, 'class')}"
            )
        return missing


def select_columns(scores: Tensor, columns: Sequence[int | None]) -> Scores:
    """Select columns of scores ``[B, classes]``; NaN for ``None``."""
    selected = np.full((len(scores), len(columns)), np.nan, np.float32)
    for column, place in enumerate(columns):
        if place is not None:
            selected[:, column] = scores[:, place].numpy()
    return selected


class CaptioningBaseline(Baseline):
    """A captioner; it tags by the project's parser and vocabulary (Tag2Text section 4.2).

    Args:
        path: A directory of ``transformers``.
        settings: Other settings that its captions depend on, for the identity.

    Attributes:
        cls_name: The class of ``transformers`` that the directory must contain.

    Raises:
        ModelError: If the directory contains no such model.
    """

    paradigm: Paradigm = "captioning"
    cls_name: str

    def __init__(self, path: str | Path, settings: str = ""):
        folder = Path(path)
        super().__init__(folder, read_transform(folder), settings)
        self.model = model_from_directory(self.cls_name, folder)
        self.tokenizer = from_directory("AutoTokenizer", folder)

    def set_categories(self, names: Sequence[str], synonyms: dict[str, tuple[str, ...]]) -> list[str]:
        """Find the categories in captions."""
        self.parser = CategoryParser(names, synonyms, default_vocabulary())
        return []

    def scores(self, pictures: Iterable[PictureSource]) -> Iterator[Scores | Failure]:
        """Score 1 for the categories that the caption names."""
        if self.parser is None:
            raise UsageError(f"{self.title}: no categories were set")
        return parsed_scores(self.captions(pictures), self.parser)

    @abstractmethod
    def write(self, pictures: Any) -> list[str]:
        """Caption pixels ``[B, 3, H, W]``."""
