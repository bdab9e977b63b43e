"""The released evaluation: its own figures, the lists on which it fails, and files that do not fit."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from anytag.errors import UsageError
from anytag.evaluation.official import (
    Annotations,
    parse_annotations,
    published_map,
    published_precision_recall,
    read_annotations,
)
from anytag.evaluation.tagging import mean_average_precision, precision_recall_f1


@pytest.fixture(scope="module")
def vectors(oracle):
    return json.loads((oracle / "vectors" / "metrics.json").read_text(encoding="utf-8"))


def by_counting(case):
    """Precision and recall of every distinct tag, from the lines themselves."""
    truth, predicted = (
        [set(line.split(",")[1:]) for line in case[file].splitlines()] for file in ("gt_file", "pred_file")
    )
    names = list(dict.fromkeys(case["taglist"]))
    precisions, recalls = [], []
    for name in names:
        wanted = {number for number, tags in enumerate(truth) if name in tags}
        found = {number for number, tags in enumerate(predicted) if name in tags}
        precisions.append(len(wanted & found) / len(found) if found else 0.0)
        recalls.append(len(wanted & found) / len(wanted) if wanted else 0.0)
    return names, precisions, recalls


class TestReference:
    @pytest.mark.parametrize("number", range(5))
    def test_mean_average_precision(self, vectors, number):
        case = vectors["cases"][number]
        result = published_map(case["preds"], parse_annotations(case["gt_file"]), case["taglist"])
        mean, classes = case["get_mAP"]["result"]
        assert result.mean == pytest.approx(mean, rel=1e-12, abs=0)
        np.testing.assert_allclose(result.classes, classes, rtol=1e-12)

    @pytest.mark.parametrize("number", range(5))
    def test_precision_and_recall(self, vectors, number):
        case = vectors["cases"][number]
        truth, predicted = parse_annotations(case["gt_file"]), parse_annotations(case["pred_file"])
        result = published_precision_recall(predicted, truth, case["taglist"])
        names, precisions, recalls = by_counting(case)
        assert list(result.names) == names
        np.testing.assert_allclose(result.precisions, precisions, rtol=1e-8)
        np.testing.assert_allclose(result.recalls, recalls, rtol=1e-8)
        harmonic = 2 / (1 / np.mean(precisions) + 1 / np.mean(recalls))
        assert result.f1 == pytest.approx(harmonic, rel=1e-8)
        if case["get_PR"]["ok"]:
            precision, recall, precisions, recalls = case["get_PR"]["result"]
            assert (result.precision, result.recall) == pytest.approx((precision, recall), rel=1e-12, abs=0)
            np.testing.assert_allclose(result.precisions, precisions, rtol=1e-12)
            np.testing.assert_allclose(result.recalls, recalls, rtol=1e-12)
        else:
            # A tag listed twice: the reference has no answer to compare with.
            assert case["get_PR"]["error"] == "IndexError"
            assert len(names) < len(case["taglist"])

    def test_equal_scores_enter_together(self, vectors):
        (case,) = vectors["ties_informative_only"]
        result = published_map(case["preds"], parse_annotations(case["gt_file"]), case["taglist"])
        # dog: three pictures with 0.5, two of them right, and no other positive.
        # cat: three with 0.9, all right. The reference's order of the dogs happens to give 0.833.
        np.testing.assert_allclose(result.classes, [2 / 3, 1], rtol=1e-8)

    def test_what_the_reference_refuses_is_refused(self, vectors):
        names = ["dog", "cat"]
        assert [case["ok"] for case in vectors["malformed"]] == [False] * 3
        unknown = parse_annotations("a,dog\nb,unknown tag\n")
        with pytest.raises(UsageError, match="b: the tag 'unknown tag' is not in the list of 2 tags"):
            published_map(np.zeros((2, 2)), unknown, names)
        with pytest.raises(UsageError, match=r"shape \(3, 2\), but there are 2 annotated pictures and 2 tags"):
            published_map(np.zeros((3, 2)), parse_annotations("a,dog\nb\n"), names)
        with pytest.raises(UsageError, match=r"shape \(2, 3\), but there are 2 annotated pictures and 2 tags"):
            published_map(np.zeros((2, 3)), parse_annotations("a,dog\nb\n"), names)


class TestByHand:
    def test_a_tag_listed_twice_counts_once(self):
        truth, predicted = parse_annotations("a,dog\nb,cat\n"), parse_annotations("a,dog\nb,dog\n")
        result = published_precision_recall(predicted, truth, ["dog", "cat", "dog"])
        # dog: 1 of 2 right, 1 of 1 found; cat: never given, 0 of 1.
        assert result.names == ("dog", "cat")
        assert (result.precision, result.recall) == pytest.approx((0.25, 0.5))
        assert result.f1 == pytest.approx(1 / 3)

    def test_pictures_are_matched_by_name(self):
        truth, predicted = parse_annotations("a,dog\nb,cat\n"), parse_annotations("b,cat\na,dog\n")
        assert published_precision_recall(predicted, truth, ["dog", "cat"]).f1 == pytest.approx(1)

    def test_nothing_right(self):
        result = published_precision_recall(parse_annotations("a,cat"), parse_annotations("a,dog"), ["dog", "cat"])
        assert result.f1 == 0

    def test_a_class_without_positives_counts_as_nought(self):
        result = published_map([[0.9, 0.9], [0.1, 0.2]], parse_annotations("a,dog\nb"), ["dog", "cat"])
        assert result.classes == pytest.approx([1, 0])
        assert result.mean == pytest.approx(0.5)


@given(st.integers(0, 10_000), st.integers(1, 12), st.integers(1, 5))
def test_agrees_with_the_measures_of_tagging(seed, pictures, classes):
    rng = np.random.default_rng(seed)
    names = [f"tag {number}" for number in range(classes)]
    targets, given_ = rng.random((2, pictures, classes)) < 0.4
    targets[0, 0] = True

    def annotations(table):
        tags = (frozenset(np.array(names)[row]) for row in table)
        return Annotations(tuple(map(str, range(pictures))), tuple(tags))

    scores = rng.integers(0, 4, (pictures, classes)) / 4
    expected = mean_average_precision(scores, targets, empty="zero")
    assert published_map(scores, annotations(targets), names).mean == pytest.approx(expected, rel=2e-8)
    ours = published_precision_recall(annotations(given_), annotations(targets), names)
    usual = precision_recall_f1(given_, targets, empty="zero")
    assert (ours.precision, ours.recall, ours.f1) == pytest.approx((usual.precision, usual.recall, usual.f1), rel=2e-8)


class TestFiles:
    def test_lines(self, tmp_path):
        path = tmp_path / "annotations.txt"
        path.write_bytes("\ufeffa.jpg, dog ,red car\r\n\nb.jpg\nc.jpg,\n".encode())
        read = read_annotations(path)
        assert read.pictures == ("a.jpg", "b.jpg", "c.jpg")
        assert read.tags == (frozenset({"dog", "red car"}), frozenset(), frozenset())
        # The Chinese list of RAM keeps blanks at the end of names.
        assert read.matrix(["red car ", "dog"]).tolist() == [[True, True], [False, False], [False, False]]
        assert parse_annotations("").matrix(["dog"]).shape == (0, 1)
        assert parse_annotations("a,dog").matrix(["dog", "cat", "dog"]).tolist() == [[True, False, True]]
        with pytest.raises(UsageError, match="the list of tags is empty"):
            parse_annotations("a").matrix([])

    def test_a_picture_on_two_lines(self):
        # Line by line where both files agree, as in the reference; otherwise nobody knows which line is meant.
        truth, predicted = parse_annotations("a,dog\nb\na,cat"), parse_annotations("a,dog\nb\na")
        result = published_precision_recall(predicted, truth, ["dog", "cat"])
        assert result.recalls == pytest.approx([1, 0])
        for other in ("a\na\nb", "b\na"):
            with pytest.raises(UsageError, match="'a' stands on several lines"):
                published_precision_recall(parse_annotations(other), truth, ["dog", "cat"])

    def test_unreadable_files(self, tmp_path):
        (tmp_path / "bytes").write_bytes(b"\xff\xfe\xff")
        for name in ("bytes", "missing"):
            with pytest.raises(UsageError, match=f"{name}: the annotations cannot be read"):
                read_annotations(tmp_path / name)

    @pytest.mark.parametrize(
        ("predicted", "truth", "message"),
        [
            ("a,dog", "a,dog\nb", "1 pictures are not in both annotations and predictions: 'b' has no prediction"),
            ("a,dog\nb", "a,dog", "'b' is not annotated"),
            ("", "", "there are no annotated pictures"),
            ("a,cow", "a,dog", "a: the tag 'cow' is not in the list of 1 tags"),
        ],
    )
    def test_files_that_do_not_belong_together(self, predicted, truth, message):
        with pytest.raises(UsageError, match=message):
            published_precision_recall(parse_annotations(predicted), parse_annotations(truth), ["dog"])
