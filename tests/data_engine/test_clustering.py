import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from anytag.data_engine.clustering import centers_of_weight, distances, kmeans, outlier_cut, seed_centers


def rng(seed=0):
    return np.random.default_rng(seed)


def test_two_clusters_of_a_line():
    # By hand: 0, 1, 2 around 1 and 10, 11, 12 around 11.
    points = np.array([[0.0], [1], [2], [10], [11], [12]])
    for seed in range(5):
        centers, owners = kmeans(points, 2, rng(seed))
        assert sorted(centers[:, 0]) == [1, 11]
        assert len({*owners[:3]}) == len({*owners[3:]}) == 1
        assert distances(points, centers).min(1).tolist() == [1, 0, 1, 1, 0, 1]


def test_as_good_as_scikit_learn():
    cluster = pytest.importorskip("sklearn.cluster")
    points = np.concatenate([rng(n).normal(4 * n, 1, (40, 3)) for n in range(4)])
    theirs = cluster.KMeans(4, n_init=20, random_state=0).fit(points).inertia_
    ours = min((distances(points, kmeans(points, 4, rng(seed))[0]).min(1) ** 2).sum() for seed in range(10))
    assert ours == pytest.approx(theirs, rel=1e-6)


def test_seeds_are_far_apart_more_often_than_not():
    # Squared distances from 0 are 0, 0.01 and 100: the far point is drawn 10,000 times as often as the near one.
    points = np.array([[0.0], [0.1], [10]])
    seconds = [set(np.round(seed_centers(points, 2, rng(seed))[:, 0], 1)) for seed in range(200)]
    assert sum(10.0 in chosen for chosen in seconds) >= 198


def test_fewer_distinct_points_than_clusters():
    centers, owners = kmeans(np.ones((5, 2)), 3, rng())
    assert centers.tolist() == [[1, 1]]
    assert owners.tolist() == [0] * 5
    assert len(kmeans(np.zeros((1, 2)), 4, rng())[0]) == 1


def test_clusters_of_outliers_are_dropped():
    # 19 points near 0 and one at 100, which k-means++ makes a cluster of its own, at distance 0 from its center.
    points = np.array([[n / 100] for n in range(19)] + [[100.0]])
    centers, owners = kmeans(points, 2, rng())
    assert distances(points, centers).min(1)[-1] == 0
    heavy = centers_of_weight(centers, owners, 0.1)
    assert heavy[:, 0].tolist() == pytest.approx([0.09])
    apart = distances(points, heavy).min(1)
    assert np.flatnonzero(apart > outlier_cut(apart, 0.05)).tolist() == [19]


def test_the_largest_cluster_always_stays():
    assert len(centers_of_weight(np.zeros((3, 1)), np.array([0, 1, 1, 2]), 0.9)) == 1


def test_the_cut_lies_between_the_last_that_stays_and_the_first_that_goes():
    apart = np.array([5.0, 1, 9, 2, 3, 4, 6, 7, 8, 0])
    assert outlier_cut(apart, 0.1) == 8.5
    assert outlier_cut(apart, 0.3) == 6.5
    assert outlier_cut(apart, 0.09) == float("inf")  # Of ten points, 0.9 are none.
    assert outlier_cut(np.ones(10), 0.1) == 1  # Nobody is farther than the others.


@given(st.lists(st.floats(0, 1e6), min_size=1, max_size=60), st.floats(0, 0.99))
def test_at_most_the_farthest_share_is_cut_off(values, share):
    apart = np.array(values)
    gone = apart > outlier_cut(apart, share)
    assert gone.sum() <= share * len(apart) + 1e-6
    if gone.any():
        assert apart[gone].min() >= apart[~gone].max()


def test_a_distance_does_not_depend_on_other_points():
    points = rng(1).normal(size=(50, 64))
    centers = rng(2).normal(size=(3, 64))
    whole = distances(points, centers)
    assert all((distances(points[n : n + 1], centers) == whole[n]).all() for n in range(50))
