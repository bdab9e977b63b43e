"""``anytag tag``: what do pictures show?"""

from __future__ import annotations

from anytag.cli._inputs import (
    AcceptTruncated,
    Allow,
    AllowFrom,
    BackendName,
    Categories,
    CategoriesFrom,
    Deny,
    DenyFrom,
    Descriptions,
    Device,
    Exclude,
    FollowLinks,
    Json,
    Kinds,
    Language,
    Model,
    NoRecursive,
    Null,
    Pictures,
    Precision,
    PrecisionChoice,
    Rename,
    RenameFrom,
    Server,
    Threads,
    Threshold,
    Top,
    find_inputs,
    open_recognizer,
    tag_choice,
)
from anytag.cli._lists import read_kinds, read_names
from anytag.cli._shared import finish, reporting, write_results


def tag(
    pictures: Pictures,
    json_: Json = False,
    null: Null = False,
    exclude: Exclude = None,
    no_recursive: NoRecursive = False,
    follow_links: FollowLinks = False,
    accept_truncated: AcceptTruncated = False,
    threshold: Threshold = None,
    top: Top = None,
    categories: Categories = None,
    categories_from: CategoriesFrom = None,
    kind: Kinds = None,
    descriptions: Descriptions = None,
    allow: Allow = None,
    allow_from: AllowFrom = None,
    deny: Deny = None,
    deny_from: DenyFrom = None,
    rename: Rename = None,
    rename_from: RenameFrom = None,
    language: Language = None,
    model: Model = None,
    backend: BackendName = None,
    device: Device = "cpu",
    precision: Precision = PrecisionChoice.float32,
    threads: Threads = None,
    server: Server = None,
) -> None:
    """Find tags in pictures: objects, scenes, attributes and actions, each with a score.

    Example: anytag tag holiday/ --json > tags.jsonl
    """
    with reporting("tag"):
        inputs = find_inputs(pictures, null, exclude, no_recursive, follow_links)
        chosen = tag_choice(allow, allow_from, deny, deny_from, rename, rename_from, language)
        recognizer = open_recognizer(
            model, backend, device, precision, threads, chosen, descriptions, server, accept_truncated
        )
        results = recognizer.tag(
            inputs.paths,
            categories=read_names(categories, categories_from, "--categories"),
            kinds=read_kinds(kind),
            threshold=threshold,
            top=top,
        )
        finish(*write_results(results, json_, inputs.total, with_caption=False), inputs)
