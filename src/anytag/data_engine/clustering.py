"""k-means++ and the points that lie farthest from its centers, in NumPy."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Points = npt.NDArray[np.float64]


def distances(points: Points, centers: Points) -> npt.NDArray[np.float64]:
    """The Euclidean distance of each point from each center.

    Rows are computed by themselves, so that a point's distance does not depend on which others are asked for.

    Args:
        points: ``[n, d]``.
        centers: ``[k, d]``.

    Returns:
        ``[n, k]``.
    """
    apart = np.empty((len(points), len(centers)))
    for number, center in enumerate(centers):
        apart[:, number] = np.sqrt(((points - center) ** 2).sum(1))
    return apart


def seed_centers(points: Points, k: int, rng: np.random.Generator) -> Points:
    """k-means++ (Arthur & Vassilvitskii, 2007): each next center is drawn by squared distance from those before."""
    centers = [points[rng.integers(len(points))]]
    nearest = distances(points, np.array(centers))[:, 0] ** 2
    while len(centers) < k and (total := nearest.sum()) > 0:
        centers.append(points[rng.choice(len(points), p=nearest / total)])
        nearest = np.minimum(nearest, distances(points, centers[-1][None])[:, 0] ** 2)
    return np.array(centers)


def kmeans(
    points: Points, k: int, rng: np.random.Generator, iterations: int = 50
) -> tuple[Points, npt.NDArray[np.intp]]:
    """Lloyd's iterations from k-means++ seeds.

    Args:
        points: ``[n, d]``, n at least 1.
        k: Clusters wanted; fewer come of fewer distinct points.
        rng: Draws the seeds.
        iterations: At most so many; it stops when no point changes its cluster.

    Returns:
        Centers ``[k, d]``, and the cluster of every point ``[n]``.
    """
    centers = seed_centers(points, min(k, len(points)), rng)
    owners = np.full(len(points), -1, np.intp)
    for _ in range(iterations):
        now = distances(points, centers).argmin(1)
        if (now == owners).all():
            break
        owners = now
        for cluster in range(len(centers)):
            # A cluster that has lost its points stays where it is.
            if (mine := owners == cluster).any():
                centers[cluster] = points[mine].mean(0)
    return centers, owners


def centers_of_weight(centers: Points, owners: npt.NDArray[np.intp], share: float) -> Points:
    """The centers of clusters that hold a share of the points at least; the largest always stays.

    k-means++ likes far points for seeds: a few outliers easily make a cluster of their own, in whose middle they would
    look like the most typical of all.
    """
    sizes = np.bincount(owners, minlength=len(centers))
    kept = sizes >= max(1, share * len(owners))
    kept[sizes.argmax()] = True
    heavy: Points = centers[kept]
    return heavy


def outlier_cut(apart: npt.NDArray[np.float64], share: float) -> float:
    """The distance beyond which the farthest share of points lies.

    Args:
        apart: ``[n]``, distances.
        share: Of points to cut off, 0 to below 1; of n points floor(share * n) are beyond the cut, or fewer if several
            are equally far.

    Returns:
        Half way between the last that stays and the first that goes, so that rounding decides nothing; infinity if
        none goes.
    """
    count = int(np.floor(share * len(apart) + 1e-9))
    if not count:
        return float("inf")
    ordered = np.sort(apart)
    return float((ordered[-count - 1] + ordered[-count]) / 2)
