"""The rules of design.md that code can break without a test of behaviour noticing."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "daemon" / "reeldrop"
MODULES = sorted(path.stem for path in PACKAGE.glob("*.py"))

OWNERS = {
    "yaml": {"strict_yaml"},
    "watchdog": {"inbox"},
    "torch": {
        "pipeline",
        "renderer",
        "fast",
        "unet3d",
        "decoding",
        "texts",
        "shapes",
        "compiled",
        "graphs",
        "forms",
        "mixed_precision",
        "lossy",
    },
    "diffusers": {"pipeline", "fast", "unet3d", "decoding", "lossy"},
    "transformers": {"pipeline"},
    "av": {"encoder"},
    "mutagen": {"encoder"},
    "PIL": {"encoder"},
    "typer": {"cli"},
    "signal": {"service", "client", "process", "writers"},
}

FOR_EVERYBODY = {"errors", "escaping", "job", "durable", "beneath", "names", "strict_yaml"}
STAGES = {
    "prompts": {"rules"},
    "rules": set(),
    "inbox": {"ignored"},
    "ignored": set(),
    "share": {"inbox"},
    "writers": set(),
    "aside": set(),
    "schedule": {"turns"},
    "turns": set(),
    "lock": set(),
    "spool": {"lock", "records", "reports"},
    "reports": set(),
    "records": set(),
    "pipeline": {"fast", "lossy"},
    "fast": {
        "compiled",
        "decoding",
        "forms",
        "graphs",
        "lossy",
        "mixed_precision",
        "texts",
        "unet3d",
    },
    "forms": {"compiled", "graphs", "shapes", "unet3d"},
    "shapes": {"unet3d"},
    "graphs": {"shapes"},
    "lossy": set(),
    "likeness": set(),
    "compiled": {"shapes", "unet3d"},
    "mixed_precision": {"unet3d"},
    "decoding": set(),
    "texts": set(),
    "unet3d": set(),
    "renderer": {"compiled", "memory", "pipeline"},
    "memory": set(),
    "tuned": set(),
    "later": set(),
    "blame": set(),
    "disk": set(),
    "ending": set(),
    "encoder": set(),
    "results": set(),
    "history": set(),
    "status": set(),
    "notify": set(),
    "journal": set(),
    "process": set(),
    "log": {"journal", "process"},
}
"""What each stage may import of the package besides what is there for everybody."""

NEEDED_TO_RENDER = {"torch", "diffusers", "transformers", "av", "PIL", "numpy", "watchdog"}

MAX_LINES = 620


@cache
def tree(module: str) -> ast.Module:
    """Return a module's syntax tree."""
    return ast.parse((PACKAGE / f"{module}.py").read_text(encoding="utf-8"))


def imported(module: str) -> Iterator[str]:
    """Yield the full names of what a module imports, wherever in it."""
    for node in ast.walk(tree(module)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module} imports relatively"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def imported_libraries(module: str) -> set[str]:
    """Return the outermost packages that a module imports."""
    return {name.partition(".")[0] for name in imported(module)}


def imported_modules(module: str) -> set[str]:
    """Return the modules of this package that a module imports."""
    names = (name.split(".") for name in imported(module))
    return {parts[1] for parts in names if parts[0] == "reeldrop" and len(parts) > 1}


@pytest.mark.parametrize("library", OWNERS)
def test_each_foreign_library_has_one_owner(library: str) -> None:
    """Only its owner imports a library, and the owner does; elsewhere it can be exchanged."""
    users = {module for module in MODULES if library in imported_libraries(module)}
    assert users
    assert users <= OWNERS[library]


@pytest.mark.parametrize("stage", STAGES)
def test_stages_do_not_know_each_other(stage: str) -> None:
    """Stages are given plain values: neither another stage nor the configuration is imported."""
    assert set() == imported_modules(stage) - FOR_EVERYBODY - STAGES[stage]


@pytest.mark.parametrize("module", ["errors", "escaping", "job", "durable", "names", "strict_yaml"])
def test_what_is_for_everybody_knows_nobody(module: str) -> None:
    """What everybody imports imports at most what the errors are."""
    assert imported_modules(module) <= {"errors", "escaping"}


def test_what_opens_folders_knows_only_how_to_make_them() -> None:
    """The walk by descriptors stands on `durable`, and on nothing else."""
    assert {"durable"} == imported_modules("beneath")


@pytest.mark.parametrize("module", sorted(set(MODULES) - {"cli", "__main__"}))
def test_imports_flow_one_way(module: str) -> None:
    """Nobody but the entry point imports the commands; the service is below them alone."""
    modules = imported_modules(module)
    assert "cli" not in modules
    assert "service" not in modules or module == "check"


def test_records_import_no_library() -> None:
    """The records that pass between stages need nothing, save numpy's names for a type checker."""
    libraries = imported_libraries("job") - set(sys.stdlib_module_names)
    assert {"numpy"} == libraries - {"reeldrop"}


def test_imports_have_no_cycles() -> None:
    """Every module can be read with those below it already known."""
    known: set[str] = set()
    while True:
        ready = {
            m for m in MODULES if m not in known and imported_modules(m) & set(MODULES) <= known
        }
        if not ready:
            break
        known |= ready
    assert set(MODULES) == known


@pytest.mark.parametrize("module", ["cli", "client", "config", "prompts", "history"])
def test_commands_that_do_not_render_start_without_torch(module: str) -> None:
    """Looking at the queue does not wait for a library that only rendering needs."""
    script = f"import sys, reeldrop.{module};print(sorted({NEEDED_TO_RENDER!r} & set(sys.modules)))"
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert "[]\n" == done.stdout


def broad_handlers(module: str) -> list[int]:
    """Return the lines of a module's bare excepts and excepts of Exception."""
    return [
        node.lineno
        for node in ast.walk(tree(module))
        if isinstance(node, ast.ExceptHandler)
        and (
            node.type is None
            or any(getattr(part, "id", "") == "Exception" for part in ast.walk(node.type))
        )
    ]


def test_every_error_is_caught_in_five_places_only() -> None:
    """Around one job, one batch and its texts in the renderer, one shape that is to be faster."""
    found = {module: len(broad_handlers(module)) for module in MODULES if broad_handlers(module)}
    assert {"compiled": 1, "graphs": 1, "intake": 1, "renderer": 2} == found


def test_whoever_catches_everything_lets_it_go_on() -> None:
    """A handler of BaseException only cleans up: its last act is to raise again."""
    handlers = [
        node
        for module in MODULES
        for node in ast.walk(tree(module))
        if isinstance(node, ast.ExceptHandler) and getattr(node.type, "id", "") == "BaseException"
    ]
    assert handlers
    for handler in handlers:
        last = handler.body[-1]
        assert isinstance(last, ast.Raise)
        assert last.exc is None


@pytest.mark.parametrize("module", MODULES)
def test_modules_can_be_read_in_one_go(module: str) -> None:
    """No file is longer than somebody reads at a sitting."""
    lines = (PACKAGE / f"{module}.py").read_text(encoding="utf-8").splitlines()
    assert len(lines) <= MAX_LINES


@pytest.mark.parametrize("module", sorted(set(MODULES) - {"__init__"}))
def test_every_module_says_what_it_is_for(module: str) -> None:
    """A module's docstring is the first that a reader sees."""
    assert ast.get_docstring(tree(module))


def test_every_module_of_the_package_is_known_here() -> None:
    """A new stage has to be added to the table above, or it would be held to nothing."""
    edges = {"__init__", "__main__", "check", "cli", "client", "config", "profiles", "progress"}
    edges.add("tuning")
    hands = {"deliveries", "filing", "intake", "jobs", "opened", "publishing", "settings"}
    hands.add("workbench")
    above = {*edges, *hands, "feeding", "service"}
    assert set(MODULES) == above | FOR_EVERYBODY | set(STAGES)


def test_every_test_states_the_rule_that_it_holds() -> None:
    """A test without a docstring can't be told from one that is wrong."""
    silent = [
        f"{path.name}: {node.name}"
        for path in sorted(Path(__file__).parent.glob("test_*.py"))
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.FunctionDef)
        and node.name.startswith("test_")
        and not ast.get_docstring(node)
    ]
    assert [] == silent
