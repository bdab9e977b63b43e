"""Settings of cleaning. RAM describes the steps (section 3.3), but few of the settings."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from anytag.data_engine.manifest import TagSource
from anytag.foundations.settings import Seed, Settings
from anytag.recognition import TagKind


class CleaningConfig(Settings):
    """Which tags are cleaned, and how.

    From the paper: regions of each tag, k-means++, removal of the farthest 10 %, and of tags that the model does not
    find on their region. Everything else is our choice, for the reasons given.

    Attributes:
        kinds: Kinds of tags to judge. Objects: the paper's detector finds nothing else, and "sunny" or "wedding" has no
            clear region.
        tags: Names of the only tags to judge (the paper's 534 categories). ``None``: all of those kinds.
        protected: Sources whose tags are never removed: labels given by people are better than a model's doubt. Tags of
            captions are not protected, as in the paper: captions from the web often describe other things.
        regions: ``attention`` or ``cells`` of the recognition decoder (:mod:`anytag.data_engine.regions`), or
            ``grounding_dino`` as in the paper. Attention needs no other model and almost no time, and separates wrong
            tags as well as cells do (``benchmarks/cleaning_quality.py``).
        region_share: Share of the hottest cell's heat from which a cell belongs to the region. A third: attention
            focuses on distinctive parts, and half would cut off the rest.
        detector: Folder of the Grounding DINO weights.
        box_threshold: The detector's threshold; 0.35, as in its authors' demo.
        without_region: What to do with a tag without a region. ``keep``: a detector that is unsure about a "drop of
            water" is no evidence against it.
        feature: What to cluster: the picture's features, averaged over the ``region``, or the features of its ``crop``.
            Region: they include the surroundings, and cost nothing.
        normalize: Scale features to length 1, so that distance is angle: their length depends more on an object's size
            than on what it is.
        clusters: k: "bat" has two senses, and a dog has a front and a side; few suffice, since each cluster needs
            members.
        regions_per_cluster: Regions per cluster below which a tag gets fewer clusters: with few regions, a center
            follows the outliers.
        min_regions: Tags with fewer regions are not clustered: of ten regions only one could be removed, and nothing
            says which.
        smallest_cluster: Share of a tag's regions below which a cluster consists of similar outliers and is dropped.
        outlier_share: Share of a tag's regions that are farthest away, and lose the tag; the paper's 10 %.
        denial: Whether to score the tag again on the region.
        crop_margin: Share of its width and height by which a region is enlarged on every side for this: context helps
            to recognize things, and the grid is coarse. With a tenth, the shipped model separates right from wrong tags
            worse than on the whole picture.
        smallest_crop: A crop's minimum width and height as shares of the picture's; smaller crops look like nothing
            that the model was trained on.
        denial_threshold: Score below which the model denies a tag. ``None``: ``denial_factor`` times the tag's
            threshold.
        denial_factor: 1 in the paper ("not predicted"). A tenth: a model misses many small things, and a tag should be
            removed because it is wrong, not because the model is unsure. Half would cost the shipped model a third more
            of the right tags for few of the wrong ones; a stronger model can afford it.
        most_fitted: Most regions of a tag to fit, a random sample of more; bounds memory.
        iterations: Most iterations of k-means.
        groups: Groups of tags for clustering; each is a unit of work, with its tags' features in memory.
        seed: Seed of sampling and clustering.
    """

    kinds: tuple[TagKind, ...] = ("object",)
    tags: tuple[str, ...] | None = None
    protected: tuple[TagSource, ...] = ("given",)
    regions: Literal["cells", "attention", "grounding_dino"] = "attention"
    region_share: float = Field(default=0.3, gt=0, le=1)
    detector: str | None = None
    box_threshold: float = Field(default=0.35, ge=0, le=1)
    without_region: Literal["keep", "drop"] = "keep"
    feature: Literal["region", "crop"] = "region"
    normalize: bool = True
    clusters: int = Field(default=4, ge=1)
    regions_per_cluster: int = Field(default=50, ge=1)
    min_regions: int = Field(default=20, ge=1)
    smallest_cluster: float = Field(default=0.05, ge=0, lt=1)
    outlier_share: float = Field(default=0.1, ge=0, lt=1)
    denial: bool = True
    crop_margin: float = Field(default=0.5, ge=0)
    smallest_crop: float = Field(default=0.6, gt=0, le=1)
    denial_threshold: float | None = Field(default=None, ge=0, le=1)
    denial_factor: float = Field(default=0.1, ge=0, le=1)
    most_fitted: int = Field(default=20_000, ge=1)
    iterations: int = Field(default=50, ge=1)
    groups: int = Field(default=32, ge=1)
    seed: Seed = 0

    def of_regions(self) -> dict[str, object]:
        """Return the settings that determine regions, their features and scores."""
        names = {"kinds", "tags", "protected", "regions", "region_share", "detector", "box_threshold", "feature"}
        return self.model_dump(mode="json", include=names | {"denial", "crop_margin", "smallest_crop"})

    def of_clusters(self) -> dict[str, object]:
        """Return the settings that determine centers and cuts, besides the regions."""
        names = {"normalize", "clusters", "regions_per_cluster", "min_regions", "smallest_cluster", "outlier_share"}
        return self.model_dump(mode="json", include=names | {"most_fitted", "iterations", "groups", "seed"})

    def of_removal(self) -> dict[str, object]:
        """Return the settings that determine which tags are removed, besides centers, cuts and scores."""
        names = {"normalize", "without_region", "denial", "denial_threshold", "denial_factor", "protected"}
        return self.model_dump(mode="json", include=names)
