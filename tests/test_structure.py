"""The rooms: import order, no cycle of files, no import of a path that is not there, few files at the door."""

import ast
import subprocess
import sys
from collections import Counter
from pathlib import Path

from conftest import ROOT

PACKAGE = ROOT / "revision_plugin"
FOLDERS = ("revision_plugin", "scripts", "eval_tasks")
# README's drawing: a room imports itself and the rooms before it
ORDER = [
    {"errors"},
    {"registry", "_common"},
    {"pages"},
    {"corpora", "encoders", "visual_batch"},
    {"embeddings"},
    {"aligners"},
    {"geometry", "tower"},
    {"hosts"},
    {"evaluation"},
    {"export"},
    {"demo"},
    {"chat"},
    {"cli", "testing"},
    {"__init__"},
    {"scripts", "eval_tasks"},
]
LEVEL = {room: level for level, rooms in enumerate(ORDER) for room in rooms}
SCRIPTS = ["bench", "dual_encoder", "demo_artefacts", "wide_world", "studies", "claims", "views"]  # in their order
# the doors, where modules are imported when they are needed; LLaVA cannot be imported before its first hooks are
# applied
DOORS = {"revision_plugin/__init__.py", "revision_plugin/cli/__init__.py"}


def files():
    return [path for folder in FOLDERS for path in sorted((ROOT / folder).rglob("*.py"))]


def module_of(path):
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {module_of(path): path for path in files()}


def room_of(path):
    parts = path.relative_to(ROOT).parts
    return parts[1].removesuffix(".py") if parts[0] == "revision_plugin" else parts[0]


def imported(path, *, only_at_the_head=False):
    """The project's own modules that `path` imports, as dotted names; those for type checkers alone left out."""
    module = module_of(path).split(".")
    package = module if path.name == "__init__.py" else module[:-1]
    tree = ast.parse(path.read_text())
    for_checkers = {
        id(node)
        for block in ast.walk(tree)
        if isinstance(block, ast.If) and ast.unparse(block.test) == "TYPE_CHECKING"
        for node in ast.walk(block)
    }
    for node in tree.body if only_at_the_head else ast.walk(tree):
        if id(node) in for_checkers:
            continue
        if isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            source = [*base, *(node.module.split(".") if node.module else [])]
            for alias in node.names:
                name = ".".join([*source, alias.name])
                yield name if name in MODULES else ".".join(source)
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)


def checkout_imports(path, **keywords):
    return [name for name in imported(path, **keywords) if name.split(".")[0] in FOLDERS]


def test_every_import_names_a_file_of_the_checkout():
    wrong = [
        f"{path.relative_to(ROOT)} imports {name}"
        for path in files()
        for name in checkout_imports(path)
        if name not in MODULES
    ]
    assert not wrong


def test_every_room_is_placed():
    assert {room_of(path) for path in files()} == set(LEVEL)


def test_rooms_import_only_rooms_before_them():
    wrong = []
    for path in files():
        for name in checkout_imports(path):
            other = room_of(MODULES[name])
            if LEVEL[other] > LEVEL[room_of(path)]:
                wrong.append(f"{path.relative_to(ROOT)} imports {name}")
    assert not wrong


def test_scripts_have_an_order_too():
    wrong = []
    for path in (ROOT / "scripts").rglob("*.py"):
        path_parts = path.relative_to(ROOT / "scripts").parts
        for name in checkout_imports(path):
            parts = name.split(".")
            if (
                parts[0] == "scripts"
                and len(parts) > 2
                and len(path_parts) > 1
                and SCRIPTS.index(parts[1]) > SCRIPTS.index(path_parts[0])
            ):
                wrong.append(f"{path.relative_to(ROOT)} imports {name}")
    assert not wrong


def test_no_files_import_each_other_in_a_circle():
    graph = {name: {n for n in checkout_imports(path) if n != name} for name, path in MODULES.items()}
    done, path = set(), []

    def visit(name):
        assert name not in path, f"a circle: {' -> '.join([*path[path.index(name) :], name])}"
        if name in done:
            return
        path.append(name)
        for other in sorted(graph.get(name, ())):
            if MODULES[other].name != "__init__.py" or not name.startswith(
                f"{other}."
            ):  # a room's face, from inside it
                visit(other)
        path.pop()
        done.add(name)

    for name in graph:
        visit(name)


def test_imports_stand_at_the_head_of_a_file():
    wrong = []
    for path in files():
        if str(path.relative_to(ROOT)) not in DOORS:
            tree = ast.parse(path.read_text())
            inner = [n for f in ast.walk(tree) if isinstance(f, ast.FunctionDef) for n in ast.walk(f)]
            wrong += [
                f"{path.relative_to(ROOT)}:{n.lineno}" for n in inner if isinstance(n, (ast.Import, ast.ImportFrom))
            ]
    assert not wrong


def test_only_hosts_import_llava():
    for path in files():
        if any(name.split(".")[0] == "llava" for name in imported(path)):
            assert room_of(path) == "hosts", f"{path} imports llava"


def test_a_file_name_has_one_meaning():
    """A command is named after what it runs, and every room has a face; `base` is a room's contract."""
    roomy = [path for path in PACKAGE.rglob("*.py") if path.parent not in (PACKAGE / "cli", PACKAGE)]
    rooms = Counter((path.name, room_of(path)) for path in roomy)
    names = Counter(name for name, _ in rooms)
    assert {name for name, count in names.items() if count > 1} <= {"__init__.py", "__main__.py", "base.py"}


def test_few_files_at_the_door_and_none_too_long():
    assert len(list(PACKAGE.glob("*.py"))) <= 5
    assert not [path for path in files() if len(path.read_text().splitlines()) > 320]


def test_importing_the_package_and_the_command_is_light():
    code = (
        "import sys, revision_plugin, revision_plugin.cli\n"
        "heavy = {'numpy', 'torch', 'transformers', 'llava', 'datasets', 'open_clip', 'matplotlib'} & "
        "set(sys.modules)\n"
        "sys.exit(str(heavy) if heavy else 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_the_public_face_is_whole():
    import revision_plugin

    for name in revision_plugin.__all__:
        assert getattr(revision_plugin, name).__name__ == name and name in dir(revision_plugin)
    face = ast.parse(Path(revision_plugin.__file__).read_text())
    checkers = next(node for node in face.body if isinstance(node, ast.If))
    shown = {alias.name for node in checkers.body for alias in node.names}
    assert shown == set(revision_plugin.__all__), "what editors see is what there is"
