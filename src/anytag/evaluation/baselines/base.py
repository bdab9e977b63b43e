"""What rivals share: how they want pictures, batches that survive bad ones, strict reading of checkpoints."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
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
from anytag.foundations.wording import counted, shown
from anytag.pictures import CLIP, Normalization, PictureSource, read_picture
from anytag.recognition import Failure

_Answer = TypeVar("_Answer")

#: Pictures that go through a rival together.
BATCH = 8

_FILTERS = {0: Image.Resampling.NEAREST, 1: Image.Resampling.LANCZOS, 2: Image.Resampling.BILINEAR,
            3: Image.Resampling.BICUBIC, 4: Image.Resampling.BOX, 5: Image.Resampling.HAMMING}  # fmt: skip


@dataclass(frozen=True)
class PictureForm:
    """How a system wants pictures.

    Attributes:
        height: In pixels, of what it sees.
        width: The same.
        shorter: The shorter side is brought to this, then the middle is cut out; ``None``: the picture is squashed.
        normalization: Mean and deviation of the channels.
        resampling: Pillow's filter.
    """

    height: int
    width: int
    shorter: int | None = None
    normalization: Normalization = CLIP
    resampling: Image.Resampling = Image.Resampling.BICUBIC

    def __call__(self, picture: Image.Image) -> NDArray[np.float32]:
        """``[3, H, W]``."""
        if self.shorter is None:
            picture = picture.resize((self.width, self.height), self.resampling)
        else:
            scale = self.shorter / min(picture.size)
            # The longer side is cut off to whole pixels, as torchvision does.
            size = [self.shorter if side == min(picture.size) else int(side * scale) for side in picture.size]
            picture = picture.resize((size[0], size[1]), self.resampling)
            left, top = round((size[0] - self.width) / 2), round((size[1] - self.height) / 2)
            picture = picture.crop((left, top, left + self.width, top + self.height))
        return self.normalization.apply(np.asarray(picture))


def read_form(folder: Path) -> PictureForm:
    """The form that ``preprocessor_config.json`` of a ``transformers`` directory asks for.

    Raises:
        ModelError: If there is none, or it says no size.
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
        raise ModelError(f"{folder / 'preprocessor_config.json'}: it says no height and width ({size!r}, {crop!r})")
    mean, std = (tuple(map(float, record.get(name) or fallback)) for name, fallback in (
        ("image_mean", CLIP.mean), ("image_std", CLIP.std)))  # fmt: skip
    if record.get("do_normalize") is False:
        mean, std = (0.0, 0.0, 0.0), (1.0, 1.0, 1.0)
    filter_ = _FILTERS.get(int(record.get("resample", 3)), Image.Resampling.BICUBIC)
    return PictureForm(
        *final,
        shorter=None if shorter is None else int(shorter),
        normalization=Normalization((mean[0], mean[1], mean[2]), (std[0], std[1], std[2])),
        resampling=filter_,
    )


@contextmanager
def _without_bars() -> Iterator[None]:
    """No bar of the library's own for weights that lie on this machine and are read in a moment."""
    from transformers.utils import logging

    shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            logging.enable_progress_bar()


def from_directory(cls_name: str, folder: Path, **options: Any) -> Any:
    """A class of ``transformers`` from a directory on this machine.

    Raises:
        MissingExtraError: If ``transformers`` is not installed.
        ModelError: If the directory does not hold such a thing.
    """
    with needs_extra("This baseline", "baselines"):
        import transformers
    if not folder.is_dir():
        raise ModelError(f"{folder}: no such directory; download the weights first, or give hub:OWNER/NAME")
    try:
        with _without_bars():
            return getattr(transformers, cls_name).from_pretrained(str(folder), local_files_only=True, **options)
    except (OSError, ValueError, KeyError, RuntimeError, ImportError, TypeError, AttributeError) as error:
        raise ModelError(f"{folder}: cannot be loaded as {cls_name} ({first_line(error)})") from error


def model_from_directory(cls_name: str, folder: Path) -> Any:
    """A model of ``transformers``, in eval mode and without gradients; every weight must be there.

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
    """A PyTorch checkpoint: its weights, and what else it holds.

    Args:
        path: The file; nothing in it is executed.
        inside: Keys below which weights may lie.

    Raises:
        ModelError: If it is missing, damaged, or holds no weights.
    """
    record = read_pickled(path)
    if not isinstance(record, dict):
        raise ModelError(f"{path}: not a checkpoint: a {type(record).__name__}")
    state = next((record[key] for key in inside if isinstance(record.get(key), dict)), record)
    weights = {str(name).removeprefix("module."): t for name, t in state.items() if isinstance(t, Tensor)}
    if not weights:
        raise ModelError(f"{path}: it holds no weights")
    bad = next((name for name, t in weights.items() if t.is_floating_point() and not t.isfinite().all()), None)
    if bad:
        raise ModelError(f"{path}: the weight {bad} holds values that are not finite; download it again")
    rest = {key: value for key, value in record.items() if not isinstance(value, Tensor)}
    return {name: t.float() if t.is_floating_point() else t for name, t in weights.items()}, rest


def load_strictly(model: nn.Module, state: Mapping[str, Tensor], source: Path) -> None:
    """Fill a model with exactly its weights.

    Raises:
        ModelError: If one is missing, unexpected or of another shape; it is named.
    """
    wanted = model.state_dict()
    if missing := sorted(wanted.keys() - state.keys()):
        raise ModelError(f"{source}: lacks {missing[0]} ({counted(len(missing), 'weight')})")
    if surplus := sorted(state.keys() - wanted.keys()):
        raise ModelError(f"{source}: {surplus[0]} is not part of this model ({counted(len(surplus), 'such weight')})")
    for name, tensor in state.items():
        if tensor.shape != wanted[name].shape:
            raise ModelError(
                f"{source}: {name} has the shape {tuple(tensor.shape)}, {tuple(wanted[name].shape)} is expected"
            )
    model.load_state_dict(dict(state))
    model.eval().requires_grad_(False)


class Baseline(ABC):
    """A rival system.

    Args:
        path: Its weights, for the identity.
        form: How it wants pictures; ``None``: as they are.
        settings: What else its scores depend on.

    Attributes:
        title: As the papers' tables call it.
        paradigm: How it recognizes.
        parser: Makes categories of captions, if that is how it scores them.
    """

    title: str
    paradigm: Paradigm
    parser: CategoryParser | None = None

    def __init__(self, path: Path, form: PictureForm | None, settings: str = ""):
        self.form = form
        self.identity = f"{type(self).__name__} {settings} {folder_identity(path)}"

    def ask(self, names: Sequence[str], synonyms: dict[str, tuple[str, ...]]) -> list[str]:
        """Say which categories are wanted; see :class:`~anytag.evaluation.systems.System`."""
        raise UsageError(f"{self.title} scores no categories")

    def scores(self, pictures: Iterable[PictureSource]) -> Iterator[Scores | Failure]:
        """Per picture ``[C]``, or why it could not be read."""
        return self._answers(pictures, self.score)

    def captions(self, pictures: Iterable[PictureSource]) -> Iterator[str | Failure]:
        """Per picture a caption, or why it could not be read."""
        return self._answers(pictures, self.write)

    def score(self, pictures: Any) -> Scores:
        """``[B, C]`` of pixels ``[B, 3, H, W]``, or of pictures where there is no form."""
        raise UsageError(f"{self.title} scores no categories")

    def write(self, pictures: Any) -> list[str]:
        """Captions of pixels ``[B, 3, H, W]``, or of pictures where there is no form."""
        raise UsageError(f"{self.title} writes no captions")

    def thresholds(self) -> NDArray[np.float64] | None:
        """Rivals have none of their own."""
        return None

    def _answers(
        self, pictures: Iterable[PictureSource], answer: Callable[[Any], Iterable[_Answer]]
    ) -> Iterator[_Answer | Failure]:
        for batch, failures in self._batches(pictures):
            found = iter(answer(batch) if len(batch) else ())
            for failure in failures:
                yield failure if failure is not None else next(found)

    def _batches(self, pictures: Iterable[PictureSource]) -> Iterator[tuple[Any, list[Failure | None]]]:
        ready: list[Any] = []
        failures: list[Failure | None] = []
        for number, source in enumerate(pictures, 1):
            try:
                picture = read_picture(
                    source, label=str(source) if isinstance(source, str | Path) else f"picture {number}"
                )
                ready.append(picture if self.form is None else self.form(picture))
                failures.append(None)
            except PictureError as error:
                failures.append(Failure(error.path, error.kind, str(error)))
            if len(failures) == BATCH:
                yield self._stack(ready), failures
                ready, failures = [], []
        if failures:
            yield self._stack(ready), failures

    def _stack(self, ready: list[Any]) -> Any:
        return ready if self.form is None or not ready else torch.from_numpy(np.stack(ready))


class FixedClassesBaseline(Baseline):
    """A rival that was taught a list of classes and knows no others."""

    #: Where each of its classes stands in what the network gives, by its name in lower case.
    places: dict[str, int]
    _columns: tuple[int | None, ...] = ()

    def ask(self, names: Sequence[str], synonyms: dict[str, tuple[str, ...]]) -> list[str]:
        """Find the categories among its classes, by their names or synonyms.

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
                f"{self.title}: its {counted(classes, 'class')} have none of the categories ({shown(names)})"
            )
        return missing

    def asked(self, found: Tensor) -> Scores:
        """Of probabilities ``[B, classes]`` those that were asked for; NaN for what it does not have."""
        return columns_of(found.numpy(), self._columns)


def columns_of(found: NDArray[np.float32], columns: Sequence[int | None]) -> Scores:
    """Some columns of scores ``[B, classes]``; NaN where there is none."""
    scores = np.full((len(found), len(columns)), np.nan, np.float32)
    for column, place in enumerate(columns):
        if place is not None:
            scores[:, column] = found[:, place]
    return scores


class CaptioningBaseline(Baseline):
    """A captioner, which becomes a tagger by the project's parser and vocabulary (Tag2Text section 4.2).

    Args:
        path: A directory of ``transformers``.
        settings: What else its captions depend on.

    Attributes:
        cls_name: The class of ``transformers`` that the directory must hold.

    Raises:
        ModelError: If the directory holds no such model.
    """

    paradigm: Paradigm = "captioning"
    cls_name: str

    def __init__(self, path: str | Path, settings: str = ""):
        folder = Path(path)
        super().__init__(folder, read_form(folder), settings)
        self.model = model_from_directory(self.cls_name, folder)
        self.tokenizer = from_directory("AutoTokenizer", folder)

    def ask(self, names: Sequence[str], synonyms: dict[str, tuple[str, ...]]) -> list[str]:
        """Categories are what captions name."""
        self.parser = CategoryParser(names, synonyms, default_vocabulary())
        return []

    def scores(self, pictures: Iterable[PictureSource]) -> Iterator[Scores | Failure]:
        """1 for what the caption names."""
        if self.parser is None:
            raise UsageError(f"{self.title}: no categories were asked for")
        return parsed_scores(self.captions(pictures), self.parser)

    @abstractmethod
    def write(self, pictures: Any) -> list[str]:
        """Captions of pixels ``[B, 3, H, W]``."""
