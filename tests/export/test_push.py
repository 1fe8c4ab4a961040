"""Uploads to the stand-in of the hub: what arrives, who may see it, and what a refusal leaves."""

import pytest
from conftest import refuse, run
from hub_server import READ_TOKEN, TOKEN

from revision_plugin import Store, load_aligner
from revision_plugin.errors import RevisionError
from revision_plugin.export.push import push


@pytest.fixture
def folder(tmp_path):
    made = tmp_path / "folder"
    (made / "parts").mkdir(parents=True)
    (made / "README.md").write_text("---\ntags: [x]\n---\n# Card\n")
    (made / "model.safetensors").write_bytes(b"weights" * 1000)
    (made / "parts" / "config.json").write_text("{}")
    return made


CONTENT = {"README.md", "model.safetensors", "parts/config.json"}


@pytest.mark.parametrize("kind", ["model", "dataset"])
@pytest.mark.parametrize("public", [False, True])
def test_the_folder_arrives_whole_in_a_repository_of_its_own(hub, folder, kind, public):
    (folder.parent / "beside.txt").write_text("not part of it")
    name = push(folder, "me/thing", kind=kind, public=public)
    assert hub.repositories.keys() == {(kind, "me/thing")}
    repository = hub.repositories[kind, "me/thing"]
    assert repository.private is not public and name == f"hf:me/thing@{repository.head}"
    files = hub.files(kind, "me/thing")
    assert files.keys() == CONTENT | {".gitattributes"}
    assert all(files[path] == (folder / path).read_bytes() for path in CONTENT)
    assert any(request.startswith("PUT /large/") for request in hub.requests), "large files go their own way"


def test_an_upload_to_a_repository_of_ones_own_is_a_new_commit(hub, folder):
    first = push(folder, "me/thing", kind="model", public=False)
    assert push(folder, "me/thing", kind="model", public=False) != "" and len(hub.files("model", "me/thing")) == 4
    (folder / "parts" / "config.json").write_text('{"new": 1}')
    second = push(folder, "me/thing", kind="model", public=False)
    repository = hub.repositories["model", "me/thing"]
    commits = [name.rpartition("@")[2] for name in (first, second)]
    assert commits[0] != commits[1] == repository.head
    assert [repository.commits[oid]["parts/config.json"] for oid in commits] == [b"{}", b'{"new": 1}']


def test_an_upload_mixes_with_no_other_files(hub, folder):
    before = hub.put("model", "me/thing", {".gitattributes": b"", "model-00001-of-00002.safetensors": b"other"})
    line = r"--push me/thing: the repository holds 1 file\(s\) that this upload has not, first 'model-00001-of-00002"
    with pytest.raises(RevisionError, match=line):
        push(folder, "me/thing", kind="model", public=False)
    assert hub.repositories["model", "me/thing"].head == before


@pytest.mark.parametrize("private", [False, True])
def test_who_may_see_a_repository_is_never_changed_and_never_overlooked(hub, folder, private):
    before = hub.put("dataset", "me/thing", {".gitattributes": b""}, private=private)
    says = "--public changes none that exists; leave --public out" if private else "is public; give --public"
    with pytest.raises(RevisionError, match=f"--push me/thing: .*{says}"):
        push(folder, "me/thing", kind="dataset", public=private)
    repository = hub.repositories["dataset", "me/thing"]
    assert repository.head == before and repository.private is private
    push(folder, "me/thing", kind="dataset", public=not private)
    assert repository.head != before and repository.private is private


def test_a_commit_that_came_between_is_not_overwritten(hub, folder, monkeypatch):
    from huggingface_hub import HfApi

    looked = HfApi.repo_info

    def look_and_be_overtaken(*arguments, **keywords):
        state = looked(*arguments, **keywords)
        hub.put("model", "me/thing", {"README.md": b"of somebody else"})
        return state

    monkeypatch.setattr(HfApi, "repo_info", look_and_be_overtaken)
    with pytest.raises(RevisionError, match="the hub refuses it .412: .*A commit has happened since"):
        push(folder, "me/thing", kind="model", public=False)
    assert hub.files("model", "me/thing") == {"README.md": b"of somebody else"}


@pytest.mark.parametrize("name", ["thing", "me/", "/thing", "me/thing/more", "me thing/x", "../etc", "hf:me/thing", ""])
def test_what_is_no_repositorys_name(hub, folder, name):
    with pytest.raises(RevisionError, match=r"is no repository's name; write OWNER/NAME"):
        push(folder, name, kind="model", public=False)
    assert hub.requests == []


def test_a_name_that_the_hub_takes_for_none(hub, folder):
    with pytest.raises(RevisionError, match="--push me/a--b: is no name that a repository can have"):
        push(folder, "me/a--b", kind="model", public=False)


def test_without_a_token_nobody_is_asked_and_nothing_written(hub, stores, tmp_path, capsys, monkeypatch):
    monkeypatch.delenv("HF_TOKEN")
    words = ("export", "--aligner", stores / "realign", "--out", tmp_path / "out", "--push", "me/thing")
    assert "there is no token to upload with; log in with 'hf auth login', or set HF_TOKEN" in refuse(capsys, *words)
    assert hub.requests == [] and not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "token, says", [("hf_" + "x" * 30, "does not know the token (401)"), (READ_TOKEN, "forbids it (403)")]
)
def test_a_token_that_may_not(hub, stores, tmp_path, capfd, monkeypatch, token, says):
    monkeypatch.setenv("HF_TOKEN", token)
    words = ("export", "--aligner", stores / "realign", "--out", tmp_path / "out", "--push", "me/thing")
    line = refuse(capfd, *words)
    assert says in line and f"({tmp_path / 'out'} is whole and stays; delete it to repeat the command)" in line
    assert token not in line and not hub.repositories
    assert load_aligner(tmp_path / "out").method == "realign"


REQUESTS = {
    "create": "/api/repos/create",
    "look": "GET /api/models/me/thing",
    "modes": "/preupload/",
    "batch": "objects/batch",
    "large file": "PUT /large/",
    "commit": "/commit/",
}


@pytest.mark.parametrize("request_name", REQUESTS)
@pytest.mark.parametrize("status", [401, 403, 404, 500])
def test_an_upload_that_is_refused_on_its_way_commits_nothing(hub, folder, capfd, request_name, status):
    with hub.fault(REQUESTS[request_name], status), pytest.raises(RevisionError) as refused:
        push(folder, "me/thing", kind="model", public=False)
    line = str(refused.value)
    assert line.startswith("--push me/thing: ") and "\n" not in line and f"({status}" in line
    said = capfd.readouterr()
    assert TOKEN not in line + said.out + said.err
    repository = hub.repositories.get(("model", "me/thing"))
    assert repository is None or len(repository.commits) == 1
    assert push(folder, "me/thing", kind="model", public=False).startswith("hf:me/thing@"), "and then it goes"


def test_a_hub_that_is_out_of_reach(hub, folder):
    hub.close()
    with pytest.raises(
        RevisionError, match=r"--push me/thing: the hub cannot be reached, or broke off \(.*check the network"
    ):
        push(folder, "me/thing", kind="model", public=False)


def test_offline_is_respected(hub, folder):
    hub.set_offline(True)
    with pytest.raises(RevisionError, match="HF_HUB_OFFLINE is set; unset it"):
        push(folder, "me/thing", kind="model", public=False)
    assert hub.requests == []


def test_a_link_is_not_followed(hub, folder, tmp_path):
    (tmp_path / "secret").write_text("mine")
    (folder / "parts" / "notes").symlink_to(tmp_path / "secret")
    with pytest.raises(RevisionError, match=r"parts/notes: is a link, and only files of"):
        push(folder, "me/thing", kind="model", public=False)
    assert hub.requests == []


def test_the_command_prints_the_name_that_other_commands_take(hub, stores, tmp_path, capsys):
    run("export", "--store", stores / "images", "--out", tmp_path / "out", "--push", "me/images", "--public")
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith(f"{tmp_path / 'out'}: 40 image embeddings of dimension 192")
    repository = hub.repositories["dataset", "me/images"]
    assert lines[1] == f"hf:me/images@{repository.head}" and not repository.private
    assert b'"hf:me/images@COMMIT"' in hub.files("dataset", "me/images")["README.md"]
    run("inspect", lines[1])
    assert "kind: image store, whole" in capsys.readouterr().out
    run("export", "--store", lines[1], "--out", tmp_path / "again")
    shard = Store.open(stores / "images").manifest.shards[0]
    assert (tmp_path / "again" / shard).read_bytes() == (stores / "images" / shard).read_bytes()
    assert not (tmp_path / "again" / shard).is_symlink()
