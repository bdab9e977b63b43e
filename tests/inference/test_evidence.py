"""Evidence for tags: hand-worked log-odds, and their independence of the other labels."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from anytag.backends.base import Encoded
from anytag.errors import ModelError
from anytag.inference.evidence import PREDICTORS, TagEvidence, exclusive_classes
from anytag.inference.label_set import ClassSums
from anytag.model.config import EvidenceConfig
from anytag.model.vocabulary import TagVocabulary, VocabularyTag

#: "Pet" is not a kind of animal, so a cat and a dog that are both pets still exclude each other.
VOCABULARY = TagVocabulary([
    VocabularyTag(0, "animal", "object"),
    VocabularyTag(1, "pet", "object", implies=(0,)),
    VocabularyTag(2, "cat", "object", implies=(1,), classes=(0,)),
    VocabularyTag(3, "dog", "object", implies=(1,)),
    VocabularyTag(4, "beagle", "object", implies=(3,), classes=(1,)),
    VocabularyTag(5, "puppy", "object", implies=(3,)),
    VocabularyTag(6, "table", "object", classes=(2,)),
])  # fmt: skip
TAGS, CLASSES, WIDTH, HIDDEN = len(VOCABULARY), 3, 4, 2
#: The classifier alone never counts.
SILENT = np.tile(np.array([0, -1e4], np.float32), (TAGS, 1))
CONFIG = EvidenceConfig(exclusive=0, general=(1,))


def arrays(seed: int = 0) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    return {
        "hidden_weight": rng.integers(-127, 128, (HIDDEN, WIDTH + CLASSES)).astype(np.int8),
        "hidden_scale": np.full(HIDDEN, 0.01, np.float32),
        "hidden_bias": rng.normal(size=HIDDEN).astype(np.float32),
        "output_weight": rng.integers(-127, 128, (TAGS, HIDDEN)).astype(np.int8),
        "output_scale": np.full(TAGS, 0.01, np.float32),
        "output_bias": rng.normal(size=TAGS).astype(np.float32),
        "weights": rng.normal(size=(TAGS, len(PREDICTORS))).astype(np.float32),
        "biases": rng.normal(size=TAGS).astype(np.float32),
        "alone": SILENT,
    }


def only(predictor: str, weight: float = 1.0) -> dict[str, np.ndarray]:
    """Arrays with weights for one predictor only."""
    made = {name: np.zeros_like(array) for name, array in arrays().items()} | {"alone": SILENT}
    made["weights"][:, PREDICTORS.index(predictor)] = weight
    return made


def encoded(*classes: float, seed: int = 0) -> Encoded:
    features = np.random.default_rng(seed).normal(size=(1, 5, WIDTH)).astype(np.float32)
    return Encoded(features, np.array([classes], np.float32))


def sums() -> ClassSums:
    matrix = np.zeros((CLASSES, TAGS), np.float32)
    for tag in VOCABULARY:
        for number in tag.classes:
            matrix[number, list(VOCABULARY.with_implied([tag.id]))] = 1
    return ClassSums(matrix, np.ones(TAGS, bool))


def ask(made: dict[str, np.ndarray], seen: Encoded, logits: float = 0.0, config: EvidenceConfig = CONFIG) -> np.ndarray:
    decoder = np.full((1, TAGS), logits, np.float32)
    return TagEvidence(config, made, VOCABULARY, CLASSES).without_decoder(seen, range(TAGS), sums())(decoder)[0]


def test_exclusive_classes() -> None:
    table = exclusive_classes(VOCABULARY, CLASSES, 0, (1,))
    assert table.tolist() == [
        [0, 0, 0, 1, 1, 1, 0],  # a cat: no dog of any kind; animals, pets and tables may be there
        [0, 0, 1, 0, 0, 0, 0],  # a beagle: no cat; it may be a puppy
        [0, 0, 0, 0, 0, 0, 0],  # a table rules nothing out
    ]
    assert not exclusive_classes(VOCABULARY, CLASSES, None, ()).any()


def test_a_class_raises_what_it_implies() -> None:
    found = ask(only("classes"), encoded(0.6, 0.3, 0.1))
    assert found == pytest.approx(np.log(np.array([0.9, 0.9, 0.6, 0.3, 0.3, 0.0, 0.1]) + 1e-3), abs=1e-5)


def test_a_class_excludes_its_siblings() -> None:
    found = ask(only("exclusion"), encoded(0.8, 0.1, 0.1))
    cat, others = np.log(1 - 0.999 * 0.1), np.log(1 - 0.999 * 0.8)
    assert found == pytest.approx([0, 0, cat, others, others, others, 0], abs=1e-5)


def test_temperature_sharpens_the_classifier() -> None:
    # Squared and normalized: 0.36, 0.09 and 0.01 of 0.46.
    found = ask(only("sure", 2.0), encoded(0.6, 0.3, 0.1), config=CONFIG.model_copy(update={"temperature": 0.5}))
    cat, beagle, table = np.array([0.36, 0.09, 0.01]) / 0.46
    own = np.array([cat + beagle, cat + beagle, cat, beagle, beagle, 0, table])
    assert found == pytest.approx(2 * cat * (1 - own), abs=1e-5)


def test_the_decoder_counts_less_where_something_else_fills_the_picture() -> None:
    made = only("decoder", 0.5)
    made["weights"][:, PREDICTORS.index("sure_decoder")] = -0.25
    own = np.array([0.9, 0.9, 0.6, 0.3, 0.3, 0, 0.1])
    found = ask(made, encoded(0.6, 0.3, 0.1), logits=2.0)
    assert found == pytest.approx(2 * (0.5 - 0.25 * 0.6 * (1 - own)), abs=1e-5)


def test_the_classifier_alone_counts_where_it_is_higher() -> None:
    made = only("decoder") | {"alone": np.tile(np.array([1.5, 2.0], np.float32), (TAGS, 1))}
    cat = 1.5 * np.log(0.6 + 1e-3) + 2
    assert ask(made, encoded(0.6, 0.3, 0.1), logits=-3.0)[2] == pytest.approx(cat, abs=1e-5)
    assert ask(made, encoded(0.6, 0.3, 0.1), logits=cat + 1)[2] == pytest.approx(cat + 1, abs=1e-5)


def test_the_whole_picture() -> None:
    made, seen = (
        arrays() | {"weights": only("picture")["weights"], "biases": np.zeros(TAGS, np.float32)},
        encoded(1, 0, 0),
    )
    inputs = np.concatenate([seen.features[0, 0], [0, -14, -14]])
    hidden = np.maximum(made["hidden_weight"] * 0.01 @ inputs + made["hidden_bias"], 0)
    expected = made["output_weight"] * 0.01 @ hidden + made["output_bias"]
    assert ask(made, seen) == pytest.approx(expected, abs=1e-4)


def test_scores_do_not_depend_on_other_labels() -> None:
    evidence, seen, whole = TagEvidence(CONFIG, arrays(), VOCABULARY, CLASSES), encoded(0.6, 0.3, 0.1), sums()
    decoder = np.random.default_rng(3).normal(size=(1, TAGS)).astype(np.float32)
    everything = evidence.without_decoder(seen, range(TAGS), whole)(decoder)
    some = [6, 2, 0]
    matrix = np.zeros((CLASSES, 3), np.float32)
    matrix[2, 0] = matrix[0, 1] = matrix[0, 2] = matrix[1, 2] = 1
    alone = evidence.without_decoder(seen, some, ClassSums(matrix, np.ones(3, bool)))(decoder[:, some])
    assert alone == pytest.approx(everything[:, some], abs=1e-5)


def test_free_texts_without_class_names_use_the_decoder_only() -> None:
    shared = {"open_weights": np.array([2, 0, 0, 0, 0], np.float32), "open_bias": np.array([-1], np.float32)}
    evidence = TagEvidence(CONFIG, arrays() | shared, VOCABULARY, CLASSES)
    none = ClassSums(np.zeros((CLASSES, 2), np.float32), np.ones(2, bool))
    partial = evidence.without_decoder(encoded(1, 0, 0), [None, None], none)
    assert partial(np.array([[1.5, 0.0]], np.float32)).tolist() == [[2.0, -1.0]]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"weights": None},
            "evidence.safetensors: weights is missing, where (7, 10) is expected; copy the model again",
        ),
        (
            {"biases": np.zeros(3, np.float32)},
            "evidence.safetensors: biases has the shape (3,), where (7,) is expected; copy the model again",
        ),
        (
            {"open_weights": np.zeros(3, np.float32)},
            "evidence.safetensors: open_weights has the shape (3,), where (5,) is expected; copy the model again",
        ),
        (
            {"class_names": np.zeros((2, 4), np.int8)},
            "evidence.safetensors: class_names has the shape (2, 4), where (3, 4) is expected; copy the model again",
        ),
    ],
)
def test_arrays_that_do_not_fit_are_refused(change: dict[str, np.ndarray | None], message: str) -> None:
    made = {name: array for name, array in (arrays() | change).items() if array is not None}
    with pytest.raises(ModelError) as caught:
        TagEvidence(CONFIG, made, VOCABULARY, CLASSES)
    assert str(caught.value) == message


def test_log_odds_from_the_decoder_alone() -> None:
    made = only("decoder", 0.5)
    made["weights"][:, PREDICTORS.index("classes")] = 1.0
    made["biases"] = np.arange(TAGS, dtype=np.float32)
    found = TagEvidence(CONFIG, made, VOCABULARY, CLASSES).from_decoder_alone(np.array([[2.0, 4.0]]), [1, 3])
    assert found == pytest.approx(np.array([[1 + 1, 2 + 3]]) + np.log(1e-3))


def test_where_a_picture_is_unfamiliar_other_weights_count() -> None:
    seen = encoded(0.6, 0.3, 0.1)
    weight = np.zeros(WIDTH + CLASSES, np.float32)
    weight[0] = 2.0
    made = only("decoder") | {"unfamiliar_weight": weight, "unfamiliar_bias": np.array([0.5], np.float32)}
    unlike = 1 / (1 + np.exp(-(2 * seen.features[0, 0, 0] + 0.5)))
    made["weights"][:, PREDICTORS.index("unfamiliar")] = added = np.arange(TAGS) - 3
    assert ask(made, seen, logits=1.5) == pytest.approx(1.5 + unlike * added, abs=1e-5)
    made["weights"][:, PREDICTORS.index("unfamiliar_classes")] = 0.5
    classes = np.log(np.array([0.9, 0.9, 0.6, 0.3, 0.3, 0.0, 0.1]) + 1e-3)
    assert ask(made, seen, logits=1.5) == pytest.approx(1.5 + unlike * (added + 0.5 * classes), abs=1e-5)


def test_where_a_picture_is_unfamiliar_the_network_can_count_more() -> None:
    sure = {"unfamiliar_bias": np.array([100], np.float32), "unfamiliar_weight": np.zeros(WIDTH + CLASSES, np.float32)}
    network = arrays() | {"biases": np.zeros(TAGS, np.float32)}
    expected = ask(network | {"weights": only("picture", 0.7)["weights"]}, encoded(0.6, 0.3, 0.1))
    made = network | sure | {"weights": only("unfamiliar_picture", 0.7)["weights"]}
    assert ask(made, encoded(0.6, 0.3, 0.1)) == pytest.approx(expected, abs=1e-5)
    familiar = made | {"unfamiliar_bias": np.array([-100], np.float32)}
    assert ask(familiar, encoded(0.6, 0.3, 0.1)) == pytest.approx(0, abs=1e-9)


class TestUpperBound:
    """Log-odds are bounded before the decoder runs."""

    @given(st.integers(0, 200), st.integers(0, 200))
    def test_no_logit_in_range_exceeds_it(self, seed: int, other: int) -> None:
        rng = np.random.default_rng(other)
        bounds = np.sort(rng.normal(scale=5, size=(TAGS, 2)), axis=1).astype(np.float32)
        evidence = TagEvidence(CONFIG, arrays(seed) | {"decoder_range": bounds}, VOCABULARY, CLASSES)
        partial = evidence.without_decoder(encoded(*rng.dirichlet([1, 1, 1]), seed=seed), range(TAGS), sums())
        logits = rng.uniform(bounds[:, 0], bounds[:, 1], size=(50, 1, TAGS)).astype(np.float32)
        most = partial.upper_bound()
        assert all((partial(one) <= most + 1e-4).all() for one in logits)
        ends = np.maximum(partial(bounds[None, :, 0]), partial(bounds[None, :, 1]))
        assert most == pytest.approx(ends, abs=1e-4)

    def test_it_is_infinite_without_a_range(self) -> None:
        made = arrays()
        made["weights"][:, 0] = 1.0
        evidence = TagEvidence(CONFIG, made, VOCABULARY, CLASSES)
        partial = evidence.without_decoder(encoded(1, 0, 0), [*range(TAGS), None], sums())
        assert (partial.upper_bound() > 1e20).all()
