"""The settings of cleaning. RAM says what is done (section 3.3) and leaves open nearly all of how."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from anytag.data_engine.manifest import TagSource
from anytag.foundations.settings import Seed, Settings
from anytag.recognition import TagKind


class CleaningConfig(Settings):
    """What is cleaned, and how.

    From the paper: regions of each tag, k-means++, the farthest 10 % lose the tag, and so do those on whose region the
    model does not find it. Everything else is ours, with the reason beside it.

    Attributes:
        kinds: Kinds of tags that are judged. Objects: the paper's detector finds nothing else, and where "sunny" or
            "wedding" begins and ends nobody can say.
        tags: Names of the only tags that are judged (the paper's 534 categories). ``None``: all of those kinds.
        protected: Sources whose tags are never taken away: what people gave as a label is better than any model's
            doubt. Tags of captions are not protected, as in the paper: captions of the web often speak of other things.
        regions: ``attention`` or ``cells`` of the recognition decoder (:mod:`anytag.data_engine.regions`), or
            ``grounding_dino`` as in the paper. Attention: it needs no other model and next to no time, and wrong tags
            stand out as well by it as by cells (``benchmarks/cleaning_quality.py``).
        region_share: Of the warmest cell's heat that a cell of the region needs. A third: attention settles on telling
            parts, and half would cut the rest of the thing off.
        detector: Folder of the Grounding DINO weights.
        box_threshold: Of the detector's boxes; 0.35, as its authors' demo has it.
        without_region: What becomes of a tag for which no region is found. ``keep``: a detector that is not sure of a
            "drop of water" says nothing about it.
        feature: What is clustered: the picture's features, averaged over the ``region``, or the features of its
            ``crop``. Region: they know their surroundings, and cost nothing.
        normalize: Whether features are brought to length 1, so that distance is angle: how strongly something shows
            varies with its size more than with what it is.
        clusters: k: "bat" has two senses, and a dog has a front and a side; a few suffice, since every cluster needs
            members.
        regions_per_cluster: Fewer clusters are made of a tag that has not this many regions for each; a center of a few
            regions follows the outliers among them.
        min_regions: Tags with fewer regions are not clustered: with ten there is just one to lose, and no way to tell
            which.
        smallest_cluster: Share of a tag's regions below which a cluster is not a sense of the tag but outliers that
            found each other.
        outlier_share: The farthest share of a tag's regions, which lose the tag; the paper's 10 %.
        denial: Whether the model is asked again on the region.
        crop_margin: By how much of its width and height a region is enlarged on every side before the model looks:
            things are recognized by what is around them, and the grid is coarse. With a tenth, the shipped model tells
            right from wrong worse than on the whole picture.
        smallest_crop: A crop's least width and height as shares of the picture's; enlarged more, things look like
            nothing that the model has seen.
        denial_threshold: The score below which the model denies a tag. ``None``: ``denial_factor`` times the score from
            which on the tag counts as found.
        denial_factor: The paper's is 1, "not predicted". A tenth: a model misses many small things that are there, and
            a tag should go because the model sees that it is wrong, not because it hesitates. Half costs the shipped
            model a third more of the right tags for few of the wrong ones; a stronger model can afford it.
        most_fitted: Regions of a tag that centers and cut are fitted on, drawn at random from more; bounds memory.
        iterations: Of k-means, at most.
        groups: Groups that tags are divided into for clustering; each is a unit of work and holds its tags' features in
            memory.
        seed: Of drawing and clustering.
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
        """The settings that regions, their features and scores depend on."""
        names = {"kinds", "tags", "protected", "regions", "region_share", "detector", "box_threshold", "feature"}
        return self.model_dump(mode="json", include=names | {"denial", "crop_margin", "smallest_crop"})

    def of_clusters(self) -> dict[str, object]:
        """The settings that centers and cuts depend on, beside the regions."""
        names = {"normalize", "clusters", "regions_per_cluster", "min_regions", "smallest_cluster", "outlier_share"}
        return self.model_dump(mode="json", include=names | {"most_fitted", "iterations", "groups", "seed"})

    def of_removal(self) -> dict[str, object]:
        """The settings that decide which tags go, beside centers, cuts and scores."""
        names = {"normalize", "without_region", "denial", "denial_threshold", "denial_factor", "protected"}
        return self.model_dump(mode="json", include=names)
