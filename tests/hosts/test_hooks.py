"""Tables of hooks: each symbol once, nothing applied by asking, and hosts of other packages."""

import subprocess
import sys
import types

import pytest
from conftest import ROOT
from hook_page import PAGES, page

from revision_plugin.errors import RevisionError
from revision_plugin.hosts import HOSTS, Hook, HookTable, find_host
from revision_plugin.hosts.launch import _take_host
from revision_plugin.testing import check_host


def double(original):
    return ("wrapped", original)


def looks_for_what_has_moved(original):
    return sys.nowhere_to_be_found


@pytest.fixture
def upstream(monkeypatch):
    module = types.ModuleType("upstream_of_this_test")
    module.a = module.copy_of_a = 1
    monkeypatch.setitem(sys.modules, module.__name__, module)
    monkeypatch.setattr(sys.modules[__name__], "double", double)
    return module


def hook(name, **settings):
    return Hook(f"upstream_of_this_test.{name}", "why", f"{__name__}:double", **settings)


def test_a_hook_is_applied_once_and_wherever_the_symbol_was_copied(upstream):
    table = HookTable("upstream 1", before=[], after=[hook("a", also=("upstream_of_this_test.copy_of_a",))])
    assert [each.symbol for each in table] == ["upstream_of_this_test.a"] and upstream.a == 1, "asking applies nothing"
    table.apply_after()
    table.apply_after()
    assert upstream.a == ("wrapped", 1) and upstream.copy_of_a is upstream.a


def test_nothing_is_rebound_where_a_symbol_has_moved(upstream):
    table = HookTable("upstream 1", before=[], after=[hook("a"), hook("gone")])
    with pytest.raises(
        RevisionError,
        match="upstream_of_this_test.gone is not what this release binds to in upstream 1: it is not there",
    ):
        table.apply_after()
    assert upstream.a == 1
    HookTable("upstream 1", before=[], after=[hook("a"), hook("gone", optional=True)]).apply_after()
    assert upstream.a == ("wrapped", 1) and not hasattr(upstream, "gone")
    broken = Hook("upstream_of_this_test.gone", "why", f"{__name__}:looks_for_what_has_moved", adds=True)
    with pytest.raises(RevisionError, match="gone is not what this release binds to .*nowhere_to_be_found"):
        HookTable("upstream 1", before=[broken], after=[]).apply_before()
    HookTable("upstream 1", before=[hook("gone", adds=True)], after=[]).apply_before()
    assert upstream.gone == ("wrapped", None)


def no_good(found):
    return f"it is {found}"


def test_a_probe_that_fails_is_named_and_nothing_is_rebound(upstream):
    """Whatever version is there: what a hook needs is looked for, not a number."""
    upstream.takes_two = lambda one, two: None
    upstream.takes_any = lambda **anything: None
    for name, settings, message in (
        ("takes_two", dict(takes=("one", "three")), "it no longer takes 'three'"),
        ("a", dict(takes=("one",)), "its parameters cannot be told"),
        ("a", dict(probe=f"{__name__}:no_good"), "it is 1"),
    ):
        table = HookTable("upstream 1", before=[], after=[hook("copy_of_a"), hook(name, **settings)])
        with pytest.raises(RevisionError, match=f"upstream_of_this_test.{name} is not what .* upstream 1: {message}"):
            table.apply_after()
        assert upstream.copy_of_a == 1
    for name, takes in (("takes_two", ("two", "one")), ("takes_any", ("three",))):
        HookTable("upstream 1", before=[], after=[hook(name, takes=takes)]).apply_after()


def test_a_symbol_is_bound_by_one_hook():
    with pytest.raises(ValueError, match="wrap upstream_of_this_test.a twice"):
        HookTable("upstream 1", before=[], after=[hook("a"), hook("b", also=("upstream_of_this_test.a",))])


def test_listing_the_hooks_imports_no_llava():
    code = (
        "import sys\nfrom revision_plugin.hosts import HOSTS\n"
        "print(sum(len(list(HOSTS.get(name).hooks)) for name in HOSTS.names()))\n"
        "sys.exit('llava' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0 and int(done.stdout) > 40, done.stderr


def test_the_installed_host_keeps_the_contract():
    check_host(find_host())


@pytest.mark.parametrize("name", PAGES)
def test_the_table_in_patches_is_generated(name):
    text = (ROOT / "patches" / name).read_text()
    assert text == page(name), "run 'python tests/hosts/hook_page.py'"


def test_a_host_of_another_package(tmp_path, monkeypatch):
    """Registered by an entry point alone; `find_host` is not told of it."""
    (tmp_path / "other_host.py").write_text(
        "from revision_plugin.hosts.base import Host\n"
        "class Other(Host):\n"
        "    name = 'other'\n"
        "    def version(self): return '1'\n"
        "    check = install = train = load = check_checkpoint = lambda self, *a, **k: None\n"
    )
    (tmp_path / "other_host-1.dist-info").mkdir()
    (tmp_path / "other_host-1.dist-info" / "METADATA").write_text(
        "Metadata-Version: 2.1\nName: other-host\nVersion: 1\n"
    )
    entry_points = "[revision_plugin.hosts]\nother = other_host:Other\n"
    (tmp_path / "other_host-1.dist-info" / "entry_points.txt").write_text(entry_points)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(HOSTS, "_entries", dict(HOSTS._entries))
    assert "other" in HOSTS.names() and find_host("other").version() == "1"
    with pytest.raises(
        RevisionError, match=r"several hosts are installed \(llava, other\); name one: REVISION_HOST=NAME"
    ):
        find_host()
    monkeypatch.setenv("REVISION_HOST", "other")
    assert find_host().name == "other" and find_host("llava").name == "llava"
    monkeypatch.delenv("REVISION_HOST")
    monkeypatch.setattr(HOSTS.get("llava"), "version", lambda self: None)
    assert find_host().name == "other"


def test_a_launch_names_its_host():
    words = ["--seed", "1", "--host", "llava", "--bf16"]
    assert _take_host(words) == "llava" and words == ["--seed", "1", "--bf16"]
    assert _take_host(words := ["--host=llava-next"]) == "llava-next" and words == []
    assert _take_host(["--hosts", "x"]) is None
    with pytest.raises(RevisionError, match="--host needs the name of a host"):
        _take_host(["--host"])
