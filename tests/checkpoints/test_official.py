"""The table of official files, and having them."""

from __future__ import annotations

import json
import re

import pytest
from fixtures_server import (
    content_of,
    no_network,  # noqa: F401 (a fixture)
    published,  # noqa: F401 (a fixture)
    serve,  # noqa: F401 (a fixture)
    status,
)

from anytag.checkpoints import official
from anytag.checkpoints.official import COMMIT, MODELS, find_official, resolve
from anytag.errors import UsageError
from anytag.foundations.http import DownloadError

ALL = [(model, file) for model in MODELS.values() for file in model.files]
KEYS = {"tag2text": "tag2text_swin_b", "ram": "ram_swin_l", "ram_plus": "ram_plus_swin_l"}


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    for name in ("HF_TOKEN", "HF_ENDPOINT", "http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("anytag.checkpoints.downloads._pause", lambda seconds: None)


def paths(server):
    return [request.path for request in server.requests]


def file_of(name, role):
    return next(file for file in MODELS[name].files if file.role == role)


class TestTable:
    def test_names(self):
        assert list(MODELS) == ["tag2text", "ram", "ram_plus"]
        with pytest.raises(UsageError, match=r"no official model is called 'rma'; there are tag2text, ram, ram_plus"):
            find_official("rma")

    @pytest.mark.parametrize("name", MODELS)
    def test_what_conversion_needs(self, name):
        roles = {file.role for file in MODELS[name].files}
        assert roles == {"checkpoint", "tags"} | (set() if name == "tag2text" else {"tags_zh", "thresholds"})

    def test_which_list_is_whose(self):
        assert file_of("tag2text", "tags").name == "tag2text_ori_tag_list.txt"
        assert file_of("ram", "tags") == file_of("ram_plus", "tags")
        assert file_of("ram", "tags").name == "ram_tag_list.txt"

    @pytest.mark.parametrize(("model", "file"), ALL)
    def test_entries_are_well_formed(self, model, file):
        assert all(home.startswith("https://") and home.endswith("/" + file.name) for home in file.homes)
        assert file.sha256 is None or re.fullmatch("[0-9a-f]{64}", file.sha256)
        assert file.size is None or file.size == file.about
        assert file.about > 1000

    def test_lists_are_of_the_commit_that_the_vectors_were_made_with(self, oracle):
        assert json.loads((oracle / "vectors" / "manifest.json").read_text())["reference_commit"] == COMMIT
        lists = [home for _, file in ALL if "githubusercontent" in file.homes[0] for home in file.homes]
        assert len(lists) == 7
        assert all(f"/{COMMIT}/" in home for home in lists)

    @pytest.mark.parametrize("name", MODELS)
    def test_numbers_agree_with_the_shapes_in_the_checkpoints(self, oracle, name):
        shape = json.loads((oracle / f"keys_{KEYS[name]}.json").read_text())[
            "label_embed" + ".weight" * (name == "tag2text")
        ]
        tags = file_of(name, "tags").lines
        assert shape[0] in (tags, tags * 51)

    def test_gigabytes(self):
        assert {name: round(model.about / 1e9, 2) for name, model in MODELS.items()} == {
            "tag2text": 4.48, "ram": 5.63, "ram_plus": 3.01,
        }  # fmt: skip


class TestResolve:
    @pytest.mark.parametrize("name", MODELS)
    def test_everything_that_conversion_needs(self, published, tmp_path, name):  # noqa: F811
        found = resolve(name, tmp_path)
        for file in official.MODELS[name].files:
            assert found[file.role] == tmp_path / file.name
            assert found[file.role].read_bytes() == content_of(file)
        assert len(published.requests) == len(found)

    def test_models_share_their_lists(self, published, tmp_path):  # noqa: F811
        resolve("ram", tmp_path)
        resolve("ram_plus", tmp_path)
        assert paths(published).count("/0/ram_tag_list.txt") == 1

    def test_a_second_time_nothing_is_asked_for(self, published, tmp_path):  # noqa: F811
        resolve("ram", tmp_path)
        before = len(published.requests)
        assert resolve("ram", tmp_path) == resolve("ram", tmp_path, offline=True)
        assert len(published.requests) == before

    @pytest.mark.parametrize("code", [401, 403, 404, 410])
    def test_the_next_home_is_asked_where_one_has_it_no_more(self, published, tmp_path, code):  # noqa: F811
        published.answers["/0/ram_swin_large_14m.pth"] = [status(code)]
        resolve("ram", tmp_path)
        assert paths(published)[:2] == ["/0/ram_swin_large_14m.pth", "/1/ram_swin_large_14m.pth"]

    def test_gone_everywhere(self, published, tmp_path):  # noqa: F811
        del published.files["/0/ram_swin_large_14m.pth"], published.files["/1/ram_swin_large_14m.pth"]
        with pytest.raises(DownloadError, match=rf"put it at {tmp_path}/ram_swin_large_14m\.pth"):
            resolve("ram", tmp_path)

    def test_an_altered_checkpoint_is_refused(self, published, tmp_path):  # noqa: F811
        published.files["/0/ram_swin_large_14m.pth"] = b"altered"
        with pytest.raises(DownloadError, match="SHA-256 is"):
            resolve("ram", tmp_path)
        assert paths(published) == ["/0/ram_swin_large_14m.pth"]
        assert not (tmp_path / "ram_swin_large_14m.pth").exists()

    @pytest.mark.parametrize(
        ("content", "fault"), [(b"cat\n" * 3428, "it has 3,428 lines"), (b"\xff\n", "not text in UTF-8")]
    )
    def test_a_list_that_is_none_is_refused(self, published, tmp_path, content, fault):  # noqa: F811
        published.files["/0/tag2text_ori_tag_list.txt"] = content
        with pytest.raises(DownloadError, match=fault):
            resolve("tag2text", tmp_path)
        assert not (tmp_path / "tag2text_ori_tag_list.txt").exists()

    def test_progress_names_the_file(self, published, tmp_path):  # noqa: F811
        seen = []
        resolve("tag2text", tmp_path, report=lambda file, done, total, rate: seen.append((file.name, done == total)))
        assert ("tag2text_swin_14m.pth", True) in seen
        assert seen[-1] == ("tag2text_ori_tag_list.txt", True)

    def test_other_homes(self, serve, tmp_path, monkeypatch):  # noqa: F811
        """The real addresses, with a server in the place of the hub."""
        tags = file_of("tag2text", "tags")
        name = "/" + tags.homes[0].split("/", 3)[3]
        server = serve()
        server.files |= {f"/lists{name}": content_of(tags)}
        checkpoint = official.OfficialFile("checkpoint", (f"{official.HUB}/a/b/weights.pth",), about=1)
        server.files["/hub/a/b/weights.pth"] = b"weights"
        model = official.OfficialModel("tag2text", "", "", (checkpoint, tags))
        monkeypatch.setattr(official, "MODELS", {"tag2text": model})
        bases = {
            "https://huggingface.co": f"{server.url}/hub/",
            "https://raw.githubusercontent.com": f"{server.url}/lists",
        }
        found = resolve("tag2text", tmp_path, base_urls=bases)
        assert found["checkpoint"].read_bytes() == b"weights"
        assert found["tags"].read_bytes() == content_of(tags)


class TestOffline:
    @pytest.fixture
    def filled(self, published, tmp_path):  # noqa: F811
        for file in official.MODELS["ram"].files:
            (tmp_path / file.name).write_bytes(content_of(file))
        return tmp_path

    def test_what_is_there_is_used(self, filled, no_network):  # noqa: F811
        assert resolve("ram", filled, offline=True)["checkpoint"].name == "ram_swin_large_14m.pth"

    def test_everything_that_is_missing_is_named(self, published, tmp_path, no_network):  # noqa: F811
        with pytest.raises(UsageError) as caught:
            resolve("ram", tmp_path, offline=True)
        assert all(f"{tmp_path / file.name}: missing" in str(caught.value) for file in MODELS["ram"].files[:4])
        assert f"published at {published.url}/0/ram_swin_large_14m.pth" in str(caught.value)
        assert "\n" not in str(caught.value)

    @pytest.mark.parametrize(
        ("name", "fault"),
        [("ram_swin_large_14m.pth", "not the official file"), ("ram_tag_list.txt", "it has 1 lines, expected 4,585")],
    )
    def test_what_is_something_else_is_named(self, filled, no_network, name, fault):  # noqa: F811
        (filled / name).write_bytes(b"something else")
        with pytest.raises(UsageError, match=rf"{name}: {fault}"):
            resolve("ram", filled, offline=True)
        assert (filled / name).read_bytes() == b"something else"
