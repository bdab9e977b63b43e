"""``anytag vocabulary describe``: write visual descriptions of tags."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Annotated

from rich.progress import TimeElapsedColumn, TimeRemainingColumn
from typer import Option

from anytag.cli._commands import refuse
from anytag.cli._output import echo, log, progress_bar, write_json
from anytag.errors import UsageError, VocabularyError
from anytag.foundations.wording import counted
from anytag.language.label_texts.description_files import Describe, TagDescriptions, Undescribed, write_descriptions
from anytag.language.label_texts.description_templates import Describable
from anytag.language.label_texts.descriptions import FROM_TEMPLATES, FROM_WORDNET, PER_TAG, from_wordnet
from anytag.language.label_texts.llm_descriptions import from_endpoint
from anytag.language.parsing.rules import ParsedTag
from anytag.language.tags.kinds import guess_kinds
from anytag.language.tags.name_files import read_name_lines
from anytag.language.tags.wordnet import WordNet
from anytag.model.directory import find_model
from anytag.model.vocabulary import TagVocabulary

#: Debian's folder of WordNet; the environment variable WNSEARCHDIR takes precedence.
_WORDNET = "/usr/share/wordnet"


def describe(
    out: Annotated[Path, Option("--out", "-o", help="File of descriptions to write, JSON lines.")],
    tags: Annotated[
        Path | None, Option(help="Tags to describe: a text file, one per line, or a vocabulary (.json).")
    ] = None,
    model: Annotated[str | None, Option(help="Describe the tags of a model. (default: the shipped model)")] = None,
    endpoint: Annotated[
        str | None, Option(help="OpenAI-compatible server: http://host:8080/v1.", metavar="URL")
    ] = None,
    llm: Annotated[str | None, Option(help="Name of the language model.", metavar="NAME")] = None,
    per_tag: Annotated[int, Option(min=1, help="Descriptions per tag.")] = PER_TAG,
    workers: Annotated[int, Option(min=1, help="Number of requests to the language model at a time.")] = 4,
    timeout: Annotated[float, Option(min=0.1, help="Seconds to wait for the language model's answer.")] = 60.0,
    wordnet: Annotated[
        Path | None, Option(help=f"WordNet's folder, if not {_WORDNET}; for descriptions without a language model.")
    ] = None,
    json_: Annotated[bool, Option("--json", help="Write a summary as JSON.")] = False,
) -> None:
    """Describe tags for RAM++, with a language model, or from WordNet and templates.

    The key of the language model is read from ANYTAG_API_KEY or OPENAI_API_KEY. After a stop, repeat the command.

    Example: anytag vocabulary describe --tags tags.txt --endpoint http://localhost:8080/v1 --llm qwen3 --out tags.jsonl
    """
    if not out.parent.is_dir():
        raise UsageError(f"{out.parent}: no such folder to write the descriptions to")
    wanted = read_tags(tags, model)
    if endpoint is not None or llm is not None:
        if endpoint is None or llm is None:
            raise UsageError("a language model needs both: --endpoint (its address) and --llm (its name)")
        refuse(("--wordnet",), "is for descriptions without a language model; leave it out")
        writer = llm
        source: Describe = partial(
            from_endpoint, url=endpoint, model=llm, per_tag=per_tag, workers=workers, timeout=timeout
        )
    else:
        refuse(("--workers", "--timeout"), "is about a language model; add --endpoint and --llm, or leave it out")
        glosses = open_wordnet(wordnet)
        writer = FROM_WORDNET if glosses else FROM_TEMPLATES
        source = partial(_without_model, glosses=glosses, per_tag=per_tag)
    with progress_bar(TimeElapsedColumn(), TimeRemainingColumn()) as bar:
        task = bar.add_task("tags", total=len(wanted))

        def advance(done: int, total: int) -> None:
            bar.update(task, completed=done, total=total)

        made = write_descriptions(out, wanted, source, writer, per_tag, advance)
    if json_:
        write_json({"path": str(out), "tags": len(wanted), "made": made, "per_tag": per_tag, "by": writer})
    else:
        echo(
            f"{out}: {counted(per_tag, 'description')} for each of {counted(len(wanted), 'tag')}, "
            f"{made:,} of them new, by {writer}"
        )


def read_tags(path: Path | None, model: str | None) -> Sequence[Describable]:
    """Return the tags of a text file, a vocabulary or a model; kinds of bare names are guessed.

    Raises:
        UsageError: If the file cannot be read or is empty, or both arguments are given.
        VocabularyError: If a vocabulary is not valid.
    """
    if path is not None and model is not None:
        raise UsageError("give --tags or --model, not both")
    if path is None:
        return list(find_model(model).vocabulary)
    if path.suffix == ".json":
        return list(TagVocabulary.load(path))
    if not path.exists():
        raise UsageError(f"{path}: no such file of tags")
    names = [name for name, _ in read_name_lines(path, "tags")]
    if not names:
        raise UsageError(f"{path}: there is no tag in it; write one per line")
    return [ParsedTag(name, kind) for name, kind in zip(names, guess_kinds(names), strict=True)]


def open_wordnet(folder: Path | None) -> WordNet | None:
    """Open WordNet; ``None``, with a message, if it is not installed.

    Raises:
        VocabularyError: If a folder is given and does not contain WordNet.
    """
    if folder is not None:
        return WordNet(folder)
    try:
        return WordNet(os.environ.get("WNSEARCHDIR") or _WORDNET)
    except VocabularyError as error:
        log(f"anytag vocabulary describe: {error}; descriptions come from templates alone")
        return None


def _without_model(
    tags: Sequence[Describable], glosses: WordNet | None, per_tag: int
) -> Iterator[TagDescriptions | Undescribed]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Printed by open_wordnet.
        yield from from_wordnet(tags, glosses, per_tag)
