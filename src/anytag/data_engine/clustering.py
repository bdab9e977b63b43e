"""k-means++ and outliers, in NumPy."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Points = npt.NDArray[np.float64]


def distances(points: Points, centers: Points) -> npt.NDArray[np.float64]:
    """Return the Euclidean distances ``[n, k]`` of points ``[n, d]`` from centers ``[k, d]``.

    Rows are computed separately, so that a point's distance does not depend on other points.
    """
    result = np.empty((len(points), len(centers)))
    for number, center in enumerate(centers):
        result[:, number] = np.sqrt(((points - center) ** 2).sum(1))
    return result


def seed_centers(points: Points, k: int, rng: np.random.Generator) -> Points:
    """Seed centers by k-means++ (Arthur & Vassilvitskii, 2007): each is drawn by squared distance from those before."""
    centers = [points[rng.integers(len(points))]]
    nearest = distances(points, np.array(centers))[:, 0] ** 2
    while len(centers) < k and (total := nearest.sum()) > 0:
        centers.append(points[rng.choice(len(points), p=nearest / total)])
        nearest = np.minimum(nearest, distances(points, centers[-1][None])[:, 0] ** 2)
    return np.array(centers)


def kmeans(
    points: Points, k: int, rng: np.random.Generator, iterations: int = 50
) -> tuple[Points, npt.NDArray[np.intp]]:
    """Run Lloyd's algorithm from k-means++ seeds.

    Args:
        points: ``[n, d]``, n at least 1.
        k: Clusters; there are fewer if there are fewer distinct points.
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
            # An empty cluster keeps its center.
            if (members := owners == cluster).any():
                centers[cluster] = points[members].mean(0)
    return centers, owners


def centers_of_weight(centers: Points, owners: npt.NDArray[np.intp], share: float) -> Points:
    """Return the centers of clusters with at least a share of the points; the largest always stays.

    k-means++ prefers distant points as seeds, so a few outliers easily make a cluster of their own, in which they would
    look typical.
    """
    sizes = np.bincount(owners, minlength=len(centers))
    kept = sizes >= max(1, share * len(owners))
    kept[sizes.argmax()] = True
    heavy: Points = centers[kept]
    return heavy


def outlier_cut(gaps: npt.NDArray[np.float64], share: float) -> float:
    """Return the distance beyond which the farthest share of points lies.

    Args:
        gaps: ``[n]``, distances from the nearest center.
        share: Share of points to cut off, 0 to below 1; of n points floor(share * n) are beyond the cut, or fewer if
            several are equally far.

    Returns:
        Half way between the last that stays and the first that goes, so that rounding does not matter; infinity if none
        goes.
    """
    count = int(np.floor(share * len(gaps) + 1e-9))
    if not count:
        return float("inf")
    ordered = np.sort(gaps)
    return float((ordered[-count - 1] + ordered[-count]) / 2)
