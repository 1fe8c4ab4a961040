"""The import order of the rooms, and no heavy import at the door."""

import ast
import subprocess
import sys

from conftest import ROOT

PACKAGE = ROOT / "revision_plugin"
ORDER = [
    {"errors"},
    {"registry", "_common"},
    {"corpora", "encoders"},
    {"embeddings"},
    {"aligners"},
    {"geometry", "tower"},
    {"hosts"},
    {"evaluation"},
    {"demo"},
    {"cli"},
]
LEVEL = {room: level for level, rooms in enumerate(ORDER) for room in rooms}


def imported_rooms(path):
    package = ["revision_plugin", *path.relative_to(PACKAGE).parts[:-1]]
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            full = base + (node.module.split(".") if node.module else [])
            names = [full] if node.module else [[*full, alias.name] for alias in node.names]
        elif isinstance(node, ast.Import):
            names = [alias.name.split(".") for alias in node.names]
        else:
            continue
        for name in names:
            if name[0] == "revision_plugin" and len(name) > 1:
                yield name[1]


def room_of(path):
    parts = path.relative_to(PACKAGE).parts
    return parts[0].removesuffix(".py")


def test_rooms_import_only_lower_rooms():
    wrong = []
    for path in PACKAGE.rglob("*.py"):
        room = room_of(path)
        if room == "__init__":
            continue
        for other in imported_rooms(path):
            demo_door = room == "encoders" and other == "demo"  # the spec `demo` names the shipped folder
            if other in LEVEL and other != room and not demo_door and LEVEL[other] > LEVEL[room]:
                wrong.append(f"{path.relative_to(ROOT)} imports {other}")
    assert not wrong


def test_every_room_is_placed():
    assert {room_of(p) for p in PACKAGE.rglob("*.py")} - {"__init__"} == set(LEVEL)


def test_only_hosts_import_llava():
    for path in PACKAGE.rglob("*.py"):
        tree = ast.parse(path.read_text())
        for node in ast.walk(tree):
            names = [a.name for a in node.names] if isinstance(node, ast.Import) else []
            names += [node.module] if isinstance(node, ast.ImportFrom) and not node.level and node.module else []
            if any(name.split(".")[0] == "llava" for name in names):
                assert room_of(path) == "hosts", f"{path} imports llava"


def test_importing_the_package_and_the_command_is_light():
    code = (
        "import sys, revision_plugin, revision_plugin.cli, revision_plugin.embeddings.store, revision_plugin.aligners\n"
        "heavy = {'torch', 'transformers', 'llava', 'datasets', 'open_clip', 'matplotlib'} & set(sys.modules)\n"
        "sys.exit(str(heavy) if heavy else 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
