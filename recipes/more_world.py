"""Make ``more_world/*.tar``, photographs of flowers, for ``recipes/lite_evidence.py``.

    python recipes/more_world.py OUT --pictures REPO --credits REPO

``--pictures`` is a clone of the public git repository JoelOscarsson/dl-assignment, which has the photographs.
``--credits`` is a clone of dalifreire/cnn_hello_world, whose list of files and photographers (from the archive of
daisies, dandelions, roses, sunflowers and tulips that TensorFlow's tutorials use) says which of them are licensed
CC BY 2.0. Only those are used.
"""

from __future__ import annotations

import argparse
import io
import json
import subprocess
import tarfile
from pathlib import Path

CLASSES = ("daisy", "dandelion", "rose", "sunflower", "tulip")

_CREDITS = "datasets/flower_photos/LICENSE.txt"


def git(repository: Path, *arguments: str) -> bytes:
    """Return the output of a git command."""
    return subprocess.run(["git", "-C", str(repository), *arguments], capture_output=True, check=True).stdout


def main() -> None:
    """Run the command."""
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("out", type=Path)
    arguments.add_argument("--pictures", type=Path, required=True)
    arguments.add_argument("--credits", type=Path, required=True)
    arguments.add_argument("--most", type=int, default=450, help="pictures of each class")
    options = arguments.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    lines = git(options.credits, "show", f"HEAD:{_CREDITS}").decode(errors="replace").splitlines()
    free = {line.split()[0].rpartition("/")[2] for line in lines if " CC-BY by " in line}
    number = 0
    with (
        tarfile.open(fileobj=io.BytesIO(git(options.pictures, "archive", "HEAD", "data/flowers"))) as found,
        tarfile.open(options.out / "flowers-000000.tar", "w") as shard,
    ):
        for label in CLASSES:
            members = [one for one in found.getmembers() if Path(one.name).parent.name == label]
            chosen = sorted((one for one in members if Path(one.name).name in free), key=lambda one: one.name)
            for member in chosen[: options.most]:
                picture = found.extractfile(member)
                assert picture is not None
                note = json.dumps({"id": str(number), "collection": "flowers", "label": label}).encode()
                for extension, content in (("jpg", picture.read()), ("json", note)):
                    entry = tarfile.TarInfo(f"{number:06d}.{extension}")
                    entry.size = len(content)
                    shard.addfile(entry, io.BytesIO(content))
                number += 1
    described = {"flowers": {"classes": list(CLASSES)}}
    (options.out / "collections.json").write_text(json.dumps(described, indent=1) + "\n", encoding="utf-8")
    print(f"{options.out}: {number:,} pictures")


if __name__ == "__main__":
    main()
