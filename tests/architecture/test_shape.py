"""The shape that every change must keep: folders, sizes, one distribution, nothing private in committed files."""

from __future__ import annotations

import ast
import graphlib
import importlib.metadata
import importlib.util
import re
import subprocess
import tomllib
from collections import Counter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGES = ("gateway", "reading_queue", "storage")
TOP_LEVEL = {*PACKAGES, "deploy", "tests", ".ci"}
FUNCTION_LINES_MAX = 65
FILE_LINES_MAX = 450
FOLDER_MODULES_MAX = 36


def committed_files() -> list[Path]:
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True).stdout.decode()
    return [ROOT / name for name in listed.split("\0") if name and (ROOT / name).is_file()]


def python_files(*folders: str) -> list[Path]:
    return [path for path in committed_files() if path.suffix == ".py" and path.relative_to(ROOT).parts[0] in folders]


def test_top_level_folders_are_those_of_the_design():
    folders = {path.relative_to(ROOT).parts[0] for path in committed_files() if len(path.relative_to(ROOT).parts) > 1}
    assert folders <= TOP_LEVEL


def test_functions_and_files_can_be_read_in_one_sitting():
    long = []
    for path in python_files(*PACKAGES, "deploy"):
        text = path.read_text(encoding="utf-8")
        if "migrations/versions" in path.as_posix():
            continue
        if text.count("\n") > FILE_LINES_MAX:
            long.append(f"{path.relative_to(ROOT)} has {text.count(chr(10))} lines")
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                lines = (node.end_lineno or node.lineno) - node.lineno + 1
                if lines > FUNCTION_LINES_MAX:
                    long.append(f"{path.relative_to(ROOT)}:{node.lineno} {node.name} has {lines} lines")
    assert long == []


def test_every_field_for_a_password_says_so_in_its_name():
    """Forms are shown again with what was typed, but for fields with that word in their names."""
    fields = [
        field
        for path in committed_files()
        if path.suffix == ".html"
        for field in re.findall(r"<input[^>]*type=\"password\"[^>]*>", path.read_text(encoding="utf-8"))
    ]
    assert fields
    assert [field for field in fields if not re.search(r' name="[a-z_]*password[a-z_]*"', field)] == []


def test_a_folder_can_be_seen_at_a_glance():
    """What grows beyond it wants rooms, each named by what it is about."""
    modules = Counter(path.parent.relative_to(ROOT).as_posix() for path in python_files(*PACKAGES))
    modules.pop("reading_queue/db/migrations/versions")
    assert {folder: count for folder, count in modules.items() if count > FOLDER_MODULES_MAX} == {}


@pytest.mark.parametrize("package", PACKAGES)
def test_no_other_distribution_brings_a_package_of_our_name(package):
    brought_by = importlib.metadata.packages_distributions().get(package, [])  # an editable install lists none
    assert set(brought_by) <= {"counterpart-imaging"}
    found = importlib.util.find_spec(package)
    assert found is not None
    assert found.origin == str(ROOT / package / "__init__.py")


def test_no_committed_file_names_a_package_index_or_a_private_place():
    forbidden = re.compile(
        "|".join(
            [
                r"pypi\." + "org",
                "files.python" + "hosted",
                "registry.npm" + "js",
                "--index" + "-url",
                "/ro" + "ot/",
                "/wo" + "rk/",
            ]
        )
    )
    found = []
    for path in committed_files():
        data = path.read_bytes()
        assert b"\0" not in data, f"{path.relative_to(ROOT)} is binary"
        found += [
            f"{path.relative_to(ROOT)}: {match.group()}"
            for match in forbidden.finditer(data.decode("utf-8"))
            if not (match.group() == "--index" + "-url" and path.suffix in {".txt"})
        ]
    assert found == []


def test_tests_neither_sleep_nor_skip():
    forbidden = re.compile(r"time\.sleep\(|asyncio\.sleep\((?!0\))|pytest\.skip|mark\.skip|mark\.xfail|importorskip")
    found = [
        f"{path.relative_to(ROOT)}:{number}"
        for path in python_files("tests")
        if path != Path(__file__) and path.name != "waiting.py"
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1)
        if forbidden.search(line)
    ]
    assert found == []


def test_nothing_waits_by_select():
    """select() cannot watch a file with a number of 1,024 or more; poll() can."""
    calls = [
        f"{path.relative_to(ROOT)}:{node.lineno}"
        for path in python_files(*PACKAGES)
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Attribute) and node.attr == "select" and ast.unparse(node.value) == "select"
    ]
    assert calls == []


def test_no_modules_import_each_other_not_even_for_their_types():
    """Two modules that need each other are one, or lack a third. Faces (`__init__.py`) only hand names on."""
    paths = {
        ".".join(path.relative_to(ROOT).with_suffix("").parts): path
        for path in python_files(*PACKAGES)
        if path.name != "__init__.py"
    }
    imports: dict[str, set[str]] = {}
    for module, path in paths.items():
        imports[module] = set()
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom) and node.module:
                named = {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
                imports[module] |= named & paths.keys()
    try:
        graphlib.TopologicalSorter(imports).prepare()
    except graphlib.CycleError as exc:
        pytest.fail(" needs ".join(reversed(exc.args[1])))


def test_no_work_is_left_unfinished_in_the_packages():
    found = [
        f"{path.relative_to(ROOT)}:{number}"
        for path in python_files(*PACKAGES, "deploy")
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1)
        if re.search(r"\b(TODO|FIXME|XXX|HACK)\b", line) and "placeholder" not in line.lower()
    ]
    assert found == []


def test_example_configurations_are_valid_toml():
    examples = [path for path in committed_files() if path.name.endswith(".example.toml")]
    assert examples
    for path in examples:
        tomllib.loads(path.read_text(encoding="utf-8"))


def test_every_module_says_what_it_is():
    silent = [
        str(path.relative_to(ROOT))
        for path in python_files(*PACKAGES)
        if "migrations/versions" not in path.as_posix()
        and not ast.get_docstring(ast.parse(path.read_text(encoding="utf-8")))
    ]
    assert silent == []


def test_documents_that_newcomers_look_for_are_there():
    for name in ("README.md", "ARCHITECTURE.md", "CONTRIBUTING.md", "CHANGELOG.md", "LICENSE", ".ci/run"):
        assert (ROOT / name).is_file(), name


def test_the_picture_of_the_states_is_the_one_that_the_tables_give():
    from reading_queue.domain import transitions

    assert transitions.diagram().strip() in (ROOT / "ARCHITECTURE.md").read_text(encoding="utf-8")


def test_migrations_are_one_chain():
    versions = ROOT / "reading_queue" / "db" / "migrations" / "versions"
    said = [path.read_text(encoding="utf-8") for path in sorted(versions.glob("*.py"))]
    links = [re.findall(r'^(?:down_)?revision = (?:"(\w+)"|None)$', text, re.MULTILINE) for text in said]
    numbers = [f"{number:04}" for number in range(1, len(links) + 1)]
    assert [tuple(link) for link in links] == list(zip(numbers, ["", *numbers[:-1]], strict=True))
