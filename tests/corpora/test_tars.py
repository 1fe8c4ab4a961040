"""Webdataset tars: samples, members that are meant, and what a hostile or damaged tar ends in."""

import io
import json
import tarfile
import tracemalloc

import numpy as np
import pytest
from PIL import Image
from shard_files import pairs, picture, read_all, samples, tar_bytes

from revision_plugin.corpora import archives
from revision_plugin.corpora.inputs import open_images, open_texts
from revision_plugin.errors import RevisionError


def write(path, members, mode="w"):
    path.write_bytes(tar_bytes(members, mode))
    return path


def special(name, kind, link="", **settings):
    member = tarfile.TarInfo(name)
    member.type, member.linkname = kind, link
    for key, value in settings.items():
        setattr(member, key, value)
    return member


def test_texts_and_images_of_one_tar_share_their_keys(tmp_path):
    write(tmp_path / "00001.tar", samples("00001/b"))
    write(tmp_path / "00000.tar.gz", samples("00000/a", "00000/c"), "w:gz")
    texts, images = open_texts(tmp_path), open_images(tmp_path)
    keys = ["00000/a", "00000/c", "00001/b"]
    assert texts.parts == images.parts == ("00000.tar.gz", "00001.tar")
    assert pairs(texts) == [(key, f"text of {key}") for key in keys]
    items = read_all(images)
    assert [item.id for item in items] == keys and all(item.problem is None for item in items)
    assert items[0].open().size == (6, 4) and np.asarray(items[0].open())[0, 0, 0] > 250
    (tmp_path / "00000.tar.gz").unlink()
    assert [item.id for item in images.read("00001.tar")] == ["00001/b"], "a part needs no other"


def test_members_that_are_said(tmp_path):
    write(
        tmp_path / "a.tar",
        [*samples("k"), ("k.prompt.TXT", b"a prompt"), ("k.uid", b"7\n"), ("k.thumb.png", picture())],
    )
    assert pairs(open_texts(tmp_path, text_column="json.caption")) == [("k", "json of k")]
    assert pairs(open_texts(tmp_path, text_column="json")) == [("k", "json of k")]
    assert pairs(open_texts(tmp_path, text_column="prompt.txt", id_column="uid")) == [("7", "a prompt")]
    assert pairs(open_texts(tmp_path, id_column="json.uid")) == [("u-k", "text of k")]
    assert pairs(open_texts(tmp_path, id_column="__row__")) == [("a.tar:0", "text of k")]
    (item,) = read_all(open_images(tmp_path, image_column="thumb.png", id_column="__key__"))
    assert item.data == picture() and item.id == "k" and str(item).endswith("a.tar: k.thumb.png")


def test_a_text_is_taken_from_json_where_there_is_no_txt(tmp_path):
    talk = [{"from": "human", "value": "<image>"}, {"from": "gpt", "value": "a dog"}]
    write(tmp_path / "a.tar", [("0.json", json.dumps({"id": 9, "conversations": talk}).encode()), ("1.txt", b"a cat")])
    first, second = read_all(open_texts(tmp_path))
    assert (first.id, first.text, first.conversations) == ("0", "a dog", talk)
    assert (second.id, second.text) == ("1", "a cat")


@pytest.mark.parametrize(
    "members, said, message",
    [
        ([("a.jpg", b""), ("a.png", b"")], {}, r"jpg and png can be the image; .*--image-column \(members: jpg, png\)"),
        ([("a.cls", b"3"), ("a.npy", b"")], {}, r"has no member jpg, jpeg, png, webp; say .* \(members: cls, npy\)"),
        ([("a.jpg", b"")], {"image_column": "webp"}, r"has no member 'webp' for --image-column \(members: jpg\)"),
        ([("a.jpg", b"")], {"image_column": "pyd"}, "--image-column pyd: is a pickle, which is never read"),
    ],
)
def test_members_that_cannot_be_told_are_listed(tmp_path, members, said, message):
    write(tmp_path / "a.tar", members)
    with pytest.raises(RevisionError, match=message):
        open_images(tmp_path, **said)


def test_samples_without_what_is_meant_are_items_with_a_problem(tmp_path):
    bad_json = [("e.json", b"{"), ("f.json", b"[1]"), ("g.json", b'{"n": 1}'), ("h.txt", b"\xff"), ("i.txt", b" ")]
    write(tmp_path / "a.tar", [("a.txt", b"one"), ("b.jpg", b""), *bad_json, ("j.txt", b"x"), ("j.txt", b"y")])
    items = read_all(open_texts(tmp_path))
    assert [item.id for item in items] == list("abefghij") and items[0].problem is None
    said = [
        "no member txt or json",
        "not valid JSON",
        "no object",
        "no caption",
        "not UTF-8",
        "no caption",
        "two members",
    ]
    assert [words in item.problem for item, words in zip(items[1:], said)] == [True] * 7, items
    items = read_all(open_texts(tmp_path, id_column="cls"))
    assert items[0].problem == "has no 'cls' for --id-column (it has txt)"


def test_files_that_belong_to_no_sample(tmp_path):
    folder = special("data/", tarfile.DIRTYPE)
    write(
        tmp_path / "a.tar",
        [(folder, b""), ("data/._a.txt", b"x"), ("LICENSE", b"x"), ("__meta__.txt", b"x"), ("./data/a.txt", b"one")],
    )
    assert pairs(open_texts(tmp_path)) == [("data/a", "one")]


def test_pickles_in_a_tar_are_never_read(tmp_path):
    write(tmp_path / "a.tar", [("a.pyd", b"cos\nsystem\n(S'false'\ntR."), ("a.txt", b"one"), ("a.pickle", b"x")])
    assert pairs(open_texts(tmp_path)) == [("a", "one")]
    for name in ("pyd", "a.pickle", "PKL", "pth"):
        with pytest.raises(RevisionError, match="is a pickle, which is never read"):
            open_texts(tmp_path, text_column=name)


def test_hostile_members_are_problems_of_their_samples(tmp_path, monkeypatch):
    secret = tmp_path / "secret.txt"
    secret.write_text("secret")
    monkeypatch.chdir(tmp_path)
    sparse = special("f.txt", tarfile.REGTYPE, pax_headers={"GNU.sparse.map": "0,1", "GNU.sparse.size": str(10**15)})
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for name, kind in (("b.txt", tarfile.SYMTYPE), ("c.txt", tarfile.LNKTYPE)):
            tar.addfile(special(name, kind, str(secret)))
        tar.addfile(special("d.txt", tarfile.CHRTYPE))
        for member, data in ((tarfile.TarInfo("/e/x.txt"), b"x"), (tarfile.TarInfo("../g.txt"), b"x"), (sparse, b"x")):
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
    (tmp_path / "d").mkdir()
    first = tar_bytes([("a.txt", b"one")]).rstrip(b"\0")
    (tmp_path / "d" / "a.tar").write_bytes(first + bytes(-len(first) % 512) + buffer.getvalue())
    before = sorted(tmp_path.rglob("*"))
    items = read_all(open_texts(tmp_path / "d"))
    problems = {item.id: item.problem for item in items}
    assert problems.pop("a") is None and len(problems) == 6
    assert all("secret" not in item.text for item in items)
    assert all("is a link, a device or sparse" in problems[key] for key in "bcdf")
    assert all("is called by a path that leads out of a folder" in problems[key] for key in ("/e/x", "../g"))
    assert sorted(tmp_path.rglob("*")) == before, "nothing is unpacked"


def test_huge_members_are_never_read(tmp_path, monkeypatch):
    monkeypatch.setattr(archives, "MOST_BYTES", 1000)
    monkeypatch.setattr("revision_plugin.corpora.items.MOST_BYTES", 1000)
    write(tmp_path / "a.tar", [("a.jpg", b"x" * 1001), ("b.jpg", picture()), ("c.jpg", b"")])
    items = read_all(open_images(tmp_path))
    assert [item.problem for item in items] == [
        "its member 'jpg' has 1001 bytes; the limit is 1000",
        None,
        "its image is empty",
    ]
    assert items[0].data is None


def test_a_header_that_would_fill_the_memory(tmp_path):
    long = special("x", tarfile.XHDTYPE)
    write(tmp_path / "a.tar", [("a.txt", b"one"), (long, b"1" * (archives.MOST_HEADER + 1)), ("b.txt", b"two")])
    with pytest.raises(RevisionError, match="a.tar: not a whole, readable tar: a header of 1048577 bytes"):
        read_all(open_texts(tmp_path))


def test_cut_and_damaged_tars_are_named(tmp_path):
    write(tmp_path / "a.tar", samples("first"))
    path = write(tmp_path / "b.tar", samples("one", "two"))
    corpus, whole = open_texts(tmp_path), path.read_bytes()
    members = len(whole.rstrip(b"\0")) // 512 * 512 + 512
    for damaged in (
        b"",
        whole[:100],
        whole[: len(whole) // 3],
        whole[:members],
        whole[: members - 512],
        b"no tar" * 500,
    ):
        path.write_bytes(damaged)
        with pytest.raises(RevisionError, match="b.tar: not a whole, readable tar"):
            read_all(corpus)
    for place in range(0, members, 512):
        if whole[place + 257 : place + 262] == b"ustar":  # a header whose checksum is wrong ends tarfile's reading
            path.write_bytes(whole[:place] + b"\1" + whole[place + 1 :])
            with pytest.raises(RevisionError, match="b.tar: not a whole, readable tar"):
                read_all(corpus)
    assert [item.id for item in corpus.read("a.tar")] == ["first"]


def test_a_cut_tar_gz_is_named(tmp_path):
    path = write(tmp_path / "a.tar.gz", samples(*"abcdefgh"), "w:gz")
    corpus, whole = open_texts(tmp_path), path.read_bytes()
    for damaged in (whole[:-6], whole[: len(whole) // 2], b"", whole[:40] + bytes(40) + whole[80:]):
        path.write_bytes(damaged)
        with pytest.raises(RevisionError, match="a.tar.gz: (is cut or damaged|not a whole, readable tar)"):
            read_all(corpus)


def test_joined_tars_lose_nothing_in_silence(tmp_path):
    (tmp_path / "a.tar").write_bytes(tar_bytes(samples("a")) + tar_bytes(samples("b")))
    with pytest.raises(RevisionError, match="a.tar: holds more behind the tar's end; give tars that are not joined"):
        read_all(open_texts(tmp_path))


def test_an_empty_tar_is_a_part_without_items(tmp_path, caplog):
    write(tmp_path / "a.tar", [])
    write(tmp_path / "b.tar", samples("k"))
    with caplog.at_level("INFO"):
        assert len(read_all(open_images(tmp_path))) == 1
    assert "a.tar: holds no item" in caplog.text


def test_a_sample_is_in_memory_and_no_more(tmp_path):
    """What is held while a tar of 30 MB is read: a sample's bytes, whatever its number."""
    noise = np.random.default_rng(0).bytes(300_000)
    write(tmp_path / "a.tar", [(f"{index}.jpg", noise) for index in range(100)])
    corpus = open_images(tmp_path)
    tracemalloc.start()
    assert sum(len(item.data) for item in corpus.read("a.tar")) == 30_000_000
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 3_000_000


def test_images_in_a_tar_are_opened_as_checked_as_files(tmp_path):
    bomb = io.BytesIO()
    Image.new("1", (20000, 20000)).save(bomb, "PNG")
    postscript = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n%%EOF\n"
    write(tmp_path / "a.tar", [("a.png", bomb.getvalue()), ("b.jpg", postscript), ("c.png", picture()[:40])])
    for item, words in zip(read_all(open_images(tmp_path)), ("exceeds limit of", "does not decode", "does not decode")):
        with pytest.raises(RevisionError, match=f"a.tar: {item.id}.(png|jpg): .*{words}"):
            item.open()


def test_what_a_tar_of_images_takes_no(tmp_path):
    write(tmp_path / "a.tar", samples("k"))
    with pytest.raises(RevisionError, match="a.tar holds its images itself; leave it out"):
        open_images(f"{tmp_path}/*.tar", tmp_path)
    (tmp_path / "b.txt").write_text("x")
    with pytest.raises(RevisionError, match="b.txt: cannot read '.txt'; give a folder of images"):
        open_images(f"{tmp_path}/*")
