from __future__ import annotations

import bz2
import gzip
import io
import lzma
import tarfile

import pytest
from data_files import write_tar
from hypothesis import given, settings
from hypothesis import strategies as st

from anytag.datasets.tar_files import TarError, is_compressed, read_tar, uncompressed

FORMATS = {"ustar": tarfile.USTAR_FORMAT, "gnu": tarfile.GNU_FORMAT, "pax": tarfile.PAX_FORMAT}

LONG = "folder/" * 12 + "x" * 60 + ".jpg"
VERY_LONG = "ordner-mit-ü/" * 30 + "bild.jpg"


def packed(members, **options):
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w", **options) as archive:
        for name, content in members:
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return stream.getvalue()


def read(content, size=None, wanted=lambda name: True):
    return list(read_tar(io.BytesIO(content), wanted, size))


@pytest.mark.parametrize("format", FORMATS)
def test_reads_what_the_standard_library_writes(format: str) -> None:
    members = [("a.jpg", b"1" * 700), (LONG, b""), ("b.json", b"{}"), ("sub/c.txt", b"x" * 512)]
    if format != "ustar":
        members.insert(1, (VERY_LONG, b"long"))
    content = packed(members, format=FORMATS[format])
    assert [(member.name, member.content) for member in read(content)] == members
    assert [(member.name, member.content) for member in read(content, len(content))] == members


@settings(max_examples=25, deadline=None)
@given(
    st.lists(st.tuples(st.text("abü/.", max_size=150).map("{}x".format), st.binary(max_size=1200)), max_size=6),
    st.sampled_from(["gnu", "pax"]),
)
def test_agrees_with_the_standard_library(members, format) -> None:
    content = packed(members, format=FORMATS[format])
    with tarfile.open(fileobj=io.BytesIO(content)) as archive:
        expected = [
            (member.name, member.offset, archive.extractfile(member).read()) for member in archive if member.isfile()
        ]
    assert [(member.name, member.start, member.content) for member in read(content)] == expected
    assert len(expected) == len(members)


def test_a_member_can_be_read_from_its_start_on() -> None:
    content = packed([("a.jpg", b"1" * 700), (VERY_LONG, b"2"), ("c.jpg", b"3")], format=tarfile.PAX_FORMAT)
    second = read(content)[1]
    assert [member.name for member in read(content[second.start :])] == [VERY_LONG, "c.jpg"]


def test_unrequested_contents_are_skipped() -> None:
    content = packed([("a.jpg", b"1" * 700), ("b.mp4", b"2" * 5000), ("c.jpg", b"3")])
    for size in (None, len(content)):
        found = read(content, size, wanted=lambda name: name.endswith("jpg"))
        assert [(member.name, member.content) for member in found] == [
            ("a.jpg", b"1" * 700),
            ("b.mp4", None),
            ("c.jpg", b"3"),
        ]


def test_folders_and_links_are_left_out() -> None:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as archive:
        for type_, name in ((tarfile.DIRTYPE, "sub"), (tarfile.SYMTYPE, "link.jpg"), (tarfile.LNKTYPE, "hard.jpg")):
            info = tarfile.TarInfo(name)
            info.type, info.linkname = type_, "a.jpg"
            archive.addfile(info)
        archive.addfile(tarfile.TarInfo("a.jpg"))
    assert [member.name for member in read(stream.getvalue())] == ["a.jpg"]


def test_an_old_file_with_folders_by_name_only() -> None:
    content = bytearray(packed([("sub/x", b"")], format=tarfile.USTAR_FORMAT))
    content[:5], content[156:157] = b"sub/\0", b"\0"
    content[148:156] = b"%06o\0 " % (sum(content[:148]) + 256 + sum(content[156:512]))
    assert read(bytes(content)) == []


def test_sizes_beyond_octal_are_read() -> None:
    info = tarfile.TarInfo("huge.bin")
    info.size = 9 << 30
    header = info.tobuf(tarfile.GNU_FORMAT)
    with pytest.raises(TarError, match=r"it has a member of 9,663,676,416 bytes at byte 512; samples are smaller"):
        read(header)
    with pytest.raises(TarError, match="it ends inside a member, which begins at byte 512"):
        read(header, len(header))


@pytest.mark.parametrize("seekable", [True, False])
@pytest.mark.parametrize(
    ("cut", "message"),
    [
        (512 + 100, "it ends inside a member, which begins at byte 512"),
        (512 + 1024 + 100, "it ends inside a header, at byte 1536"),
        (512 + 1024 + 512 + 10, "it ends inside a member, which begins at byte 2048"),
    ],
)
def test_a_truncated_file_is_an_error(cut: int, message: str, seekable: bool) -> None:
    content = packed([("a.jpg", b"1" * 700), ("b.jpg", b"2" * 700)])[:cut]
    with pytest.raises(TarError, match=message):
        read(content, len(content) if seekable else None, wanted=lambda name: not seekable)


def test_damage_in_a_header_is_an_error() -> None:
    content = bytearray(packed([("a.jpg", b"1" * 700), ("b.jpg", b"2")]))
    content[1536 + 3] ^= 1
    with pytest.raises(TarError, match="its header at byte 1536 is damaged, or it is not a tar file"):
        read(bytes(content))


def test_other_files_are_not_tar_files() -> None:
    with pytest.raises(TarError, match="its header at byte 0 is damaged, or it is not a tar file"):
        read(b"hello, this is a text." * 100)


def test_a_sparse_file_is_refused() -> None:
    content = bytearray(packed([("a.jpg", b"1")]))
    content[156:157] = b"S"
    content[148:156] = b"%06o\0 " % (sum(content[:148]) + 256 + sum(content[156:512]))
    with pytest.raises(TarError, match="sparse"):
        read(bytes(content))


def test_damage_in_an_extended_header_is_an_error() -> None:
    content = bytearray(packed([(VERY_LONG, b"1")], format=tarfile.PAX_FORMAT))
    content[512:516] = b"word"
    with pytest.raises(TarError, match="its extended header at byte 512 is damaged"):
        read(bytes(content))


def test_a_size_in_an_extended_header_counts() -> None:
    info = tarfile.TarInfo("a.jpg")
    info.size, info.pax_headers = 3, {"size": "3"}
    header = info.tobuf(tarfile.PAX_FORMAT)
    assert [member.content for member in read(header + b"abc" + bytes(509 + 1024))] == [b"abc"]
    with pytest.raises(TarError, match="its extended header at byte 512 is damaged"):
        read(header.replace(b"size=3", b"size=x"))


@pytest.mark.parametrize("pack", [gzip.compress, bz2.compress, lzma.compress, bytes])
def test_compression_is_detected_by_the_first_bytes(pack, tmp_path) -> None:
    content = write_tar(tmp_path / "a.tar", [("a.jpg", b"1" * 700)]).read_bytes()
    (tmp_path / "a.bin").write_bytes(pack(content))
    assert is_compressed(pack(content)) == (pack is not bytes)
    with (tmp_path / "a.bin").open("rb") as stream:
        assert [member.content for member in read_tar(uncompressed(stream), lambda name: True)] == [b"1" * 700]
