"""What can be found out before the engine begins."""

from __future__ import annotations

from anytag.data_engine.cleaning_config import CleaningConfig
from anytag.data_engine.generate import GenerateConfig
from anytag.data_engine.grounding_dino import check_detector
from anytag.data_engine.models import Model
from anytag.errors import ModelError


def check_models(
    model: Model, generating: GenerateConfig | None = None, cleaning: CleaningConfig | None = None
) -> None:
    """Find out now what would otherwise be found out when a step comes to it, hours later perhaps.

    Args:
        model: What generates and cleans.
        generating: What it is asked to generate, if it is to.
        cleaning: How tags are cleaned, if they are to be.

    Raises:
        ModelError: If there is no such model, captions are asked of one that writes none, or a detector's weights are
            not where they should be.
        UsageError: If a detector is not named.
        MissingExtraError: If a detector's library is not installed.
    """
    config = model.directory().config
    if generating is not None and generating.captions != "none" and config.captioner is None:
        raise ModelError(
            f"generate: {config.name}: this model tags pictures but does not write captions; take another one, or ask "
            "for captions 'none'"
        )
    if cleaning is not None and cleaning.regions == "grounding_dino":
        check_detector(cleaning.detector)
