"""Upload a model directory to the Hugging Face hub, for ``anytag.load("owner/name")``."""

from __future__ import annotations

from pathlib import Path

from anytag.errors import UsageError, first_line
from anytag.model.directory import ModelDirectory


def push_model(folder: str | Path, repository: str, private: bool = False, message: str | None = None) -> str:
    """Upload the files that a model's config lists, after checking them; files that did not change are not sent again.

    The token comes from ``HF_TOKEN`` or ``hf auth login``.

    Args:
        folder: The model directory.
        repository: ``owner/name``; created if it does not exist.
        private: Create a private repository; existing ones are not changed.
        message: Commit message; ``None``: with the model's name.

    Returns:
        The URL of the commit.

    Raises:
        ModelError: If the model is incomplete or altered.
        UsageError: If the hub refuses it or cannot be reached.
    """
    directory = ModelDirectory(folder)
    for name in directory.config.files:
        directory.file(name)
    if repository.count("/") != 1 or not all(repository.split("/")):
        raise UsageError(f"{repository!r} is not a name on the hub; write it as owner/name")
    from huggingface_hub import HfApi, errors

    hub = HfApi(library_name="anytag")
    names = sorted([*directory.config.files, "config.json"])
    try:
        hub.create_repo(repository, private=private, exist_ok=True)
        commit = hub.upload_folder(
            repo_id=repository,
            folder_path=directory.path,
            allow_patterns=names,
            commit_message=message or f"Upload {directory.config.name} with anytag",
        )
    except errors.HFValidationError as error:
        raise UsageError(f"{repository!r} is not a name on the hub ({first_line(error)})") from None
    except errors.LocalTokenNotFoundError:
        raise UsageError(_NO_TOKEN.format(repository)) from None
    except errors.HfHubHTTPError as error:
        status = error.response.status_code if error.response is not None else None
        if status in (401, 403):
            raise UsageError(_NO_TOKEN.format(repository)) from None
        raise UsageError(f"{repository}: the hub did not take it ({first_line(error)}); try again later") from None
    except (OSError, RuntimeError) as error:
        if isinstance(error.__cause__ or error, errors.OfflineModeIsEnabled):
            raise UsageError(f"{repository}: HF_HUB_OFFLINE is set, so the hub is not asked; unset it") from None
        raise UsageError(f"{repository}: the hub could not be reached ({first_line(error)})") from None
    except Exception as error:  # The client raises errors of several libraries.
        raise UsageError(f"{repository}: the hub could not be reached ({first_line(error)})") from None
    return str(commit.commit_url)


_NO_TOKEN = (
    "{}: the hub lets only its owner write there; put a token with the right to write into HF_TOKEN, or run: "
    "hf auth login"
)
