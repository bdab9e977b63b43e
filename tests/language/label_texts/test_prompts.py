import hashlib
import json

import numpy as np
import pytest
from conftest import require
from hypothesis import given
from hypothesis import strategies as st

from anytag.language.label_texts.prompts import TEMPLATES, ensemble, normalize, open_set_prompts


def test_prompts_are_those_of_the_reference(oracle):
    record = json.loads(require(oracle / "vectors/openset_embedding.json", "prompt hashes").read_text())
    assert record["prompts"]
    for case in record["prompts"]:
        prompts = open_set_prompts(case["category"])
        assert prompts[:3] == case["first_three"]
        assert prompts[-1] == case["last"]
        assert len(prompts) == case["n_prompts"] == len(TEMPLATES) == 63
        assert hashlib.sha256("\n".join(prompts).encode()).hexdigest() == case["sha256_of_joined_by_newline"]


@pytest.mark.parametrize(
    ("name", "official", "corrected"),
    [
        ("owl", "itap of an owl.", "itap of an owl."),
        ("Owl", "itap of a owl.", "itap of an owl."),
        ("_owl", "itap of a  owl.", "itap of a  owl."),
        ("cup/Mug.", "itap of a cup or mug.", "itap of a cup or mug."),
        ("{name}", "itap of a {name}.", "itap of a {name}."),
    ],
)
def test_articles(name, official, corrected):
    assert open_set_prompts(name)[5] == official
    assert open_set_prompts(name, released_articles=False)[5] == corrected


def test_corrected_articles_reach_every_sentence():
    assert "This is a painting of a owl." in open_set_prompts("owl")
    corrected = open_set_prompts("Owl", released_articles=False)
    assert not any(" a owl" in prompt for prompt in corrected)
    assert len(set(corrected)) == 63


@given(st.text())
def test_any_name_gives_63_sentences(name):
    prompts = open_set_prompts(name)
    assert len(prompts) == 63
    assert all(prompt.startswith(("There is ", "This is ", "itap of ")) for prompt in prompts)
    assert all("_" not in prompt and "/" not in prompt for prompt in prompts)


def test_an_ensemble_weights_prompts_equally():
    # Lengths 5 and 1: the directions (0.6, 0.8) and (0, -1) average to (0.3, -0.1).
    found = ensemble(np.array([[3, 4], [0, -1]], np.float32))
    np.testing.assert_allclose(found, np.array([3, -1]) / np.sqrt(10), atol=1e-6)
    assert found.dtype == np.float32


def test_a_zero_vector_stays_and_no_vector_is_refused():
    np.testing.assert_array_equal(normalize(np.zeros((2, 3), np.float32)), 0)
    with pytest.raises(ValueError, match="at least one"):
        ensemble(np.empty((0, 4), np.float32))
