"""Checkpoints and lists in the official layout, written from the reference's vectors, and models made of them."""

from __future__ import annotations

import torch
from oracle_sets import OracleSet

from anytag.checkpoints.convert import convert_checkpoint


def official_file(oracle_set: OracleSet, path, **changes):
    """A .pth in the official layout: every name, tied ones twice, tables and all."""
    state = {}
    for name, shape in oracle_set.config["state"]["keys"].items():
        tensor = oracle_set.state.get(name)
        state[name] = torch.zeros(shape) if tensor is None else tensor
    torch.save({"model": {**state, **changes}, "epoch": 3}, path)
    return path


def lists(oracle_set: OracleSet, folder):
    """Tag lists with the blanks that the official ones carry."""
    tags, chinese, thresholds = folder / "tags.txt", folder / "zh.txt", folder / "thresholds.txt"
    tags.write_text("\n".join(oracle_set.config["tag_list"]) + "\n", encoding="utf-8")
    chinese.write_text("\n".join(name + " " for name in oracle_set.config["tag_list_chinese"]), encoding="utf-8")
    thresholds.write_text("\n".join(map(str, oracle_set.config["class_threshold"])), encoding="utf-8")
    return {"tags": tags, "tags_zh": chinese, "thresholds": thresholds}


def converted(oracle_set: OracleSet, folder, **options):
    out = folder / "model"
    settings = {**lists(oracle_set, folder), "geometry": oracle_set.geometry, "report": lambda line: None, **options}
    convert_checkpoint(official_file(oracle_set, folder / "official.pth"), out, family=oracle_set.kind, **settings)
    return out
