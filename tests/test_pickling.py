"""Everything public travels: by pickle, by copy, and through a pool of processes."""

from __future__ import annotations

import contextlib
import copy
import importlib
import inspect
import multiprocessing
import pickle
import re
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from conftest import ROOT, require_module
from fixtures_toy import TAGS

import anytag
from anytag.errors import AnytagError, PictureError
from anytag.model.vocabulary import TagVocabulary
from anytag.recognition import Failure, Match, Matches, Recognition, Tag

CAT = ROOT / "examples" / "cat.jpg"


def every_error():
    """Every error of the package whose module can be imported here; modules without any are left alone."""
    package = Path(anytag.__file__).parent
    for path in package.rglob("*.py"):
        if re.search(r"^class \w+Error\(", path.read_text(encoding="utf-8"), re.MULTILINE):
            with contextlib.suppress(ImportError):
                importlib.import_module(".".join(path.relative_to(package.parent).with_suffix("").parts))
    found, waiting = [], [AnytagError]
    while waiting:
        kind = waiting.pop()
        found.append(kind)
        waiting += kind.__subclasses__()
    return found


def copies(value):
    yield pickle.loads(pickle.dumps(value))
    yield copy.copy(value)
    yield copy.deepcopy(value)


def test_errors_of_every_kind():
    kinds = every_error()
    assert len(kinds) > 10
    for kind in kinds:
        names = list(inspect.signature(kind.__init__).parameters)[1:] if "__init__" in vars(kind) else []
        error = kind(*[404 if name in ("status", "retry_after") else f"a {name}" for name in names] or ["a message"])
        for other in copies(error):
            assert type(other) is kind
            assert (str(other), vars(other)) == (str(error), vars(error)), kind


def test_results():
    tag = Tag("dog", 0.5, "object", 0.25, 1)
    for value in (
        tag,
        Recognition("a.jpg", (tag,), "a dog", ("dog",), ("dog",)),
        Matches("a.jpg", (Match("a dog", 0.5, (tag,)),)),
        Failure("a.jpg", "empty", "a.jpg: empty"),
        anytag.TagChoice(allow=["dog"], rename={"dog": "Hund"}),
    ):
        for other in copies(value):
            assert other == value
    for other in copies(Recognition("a.jpg", size=(20, 30))):
        assert other.size == (20, 30)


def test_a_vocabulary():
    vocabulary = TagVocabulary(TAGS)
    for other in copies(vocabulary):
        assert list(other) == list(vocabulary)
        assert other.find("hound") == vocabulary.find("hound")


@pytest.fixture(scope="module")
def recognizer():
    choice = anytag.TagChoice(allow=["cat", "dog"], rename={"cat": "Katze"})
    return anytag.load(threads=1, batch_size=3, tags=choice)


def test_a_recognizer_opens_its_model_again(recognizer):
    expected = recognizer.tag(CAT, threshold=0)
    assert expected.tags[0].name == "Katze"
    for other in copies(recognizer):
        assert (other.batch_size, other.workers, other.backend.threads) == (3, 1, 1)
        assert other.tag(CAT, threshold=0) == expected
    assert copy.deepcopy(recognizer).backend is not recognizer.backend


@pytest.mark.parametrize("name", ["openvino", "torch"])
def test_backends_too(name, exported, tmp_path):
    require_module(name)
    if name == "openvino":
        backend = anytag.load(exported.folder, backend=name, threads=1).backend
    else:
        from fixtures_official import small_model

        model = small_model("ram")
        backend = _torch_backend(model, tmp_path)
    side = backend.directory.config.image_encoder.resolution
    pixels = np.random.default_rng(0).integers(0, 256, (1, side, side, 3), np.uint8)
    for other in copies(backend):
        np.testing.assert_array_equal(other.encode(pixels).features, backend.encode(pixels).features)


def _torch_backend(model, folder):
    from safetensors.torch import save_model

    from anytag.backends.torch import TorchBackend
    from anytag.model.directory import ModelDirectory, write_config
    from anytag.model.vocabulary import VocabularyTag

    TagVocabulary([VocabularyTag(n, f"tag {n}", "object") for n in range(6)]).save(folder / "vocabulary.json")
    save_model(model, str(folder / "model.safetensors"))
    write_config(folder, model.config, ["vocabulary.json", "model.safetensors"])
    return TorchBackend(ModelDirectory(folder))


def test_a_look(recognizer):
    look = recognizer.look(CAT)
    for other in copies(look):
        assert (other.path, other.width, other.height) == (look.path, look.width, look.height)
        assert other.tags(threshold=0) == look.tags(threshold=0)


def test_a_pool_of_processes(recognizer):
    """A missing picture once hung it for ever: the error could not be unpickled."""
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        future = pool.submit(recognizer.tag, str(CAT), threshold=0)
        missing = pool.submit(recognizer.tag, "missing.jpg")
        assert future.result(timeout=300) == recognizer.tag(str(CAT), threshold=0)
        with pytest.raises(PictureError) as caught:
            missing.result(timeout=300)
    assert (caught.value.kind, caught.value.path) == ("not_found", "missing.jpg")
