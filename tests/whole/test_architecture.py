"""The rules of design.md that code can break without failing a test of behaviour."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import TypeGuard

import pytest
from harness import HARNESS

TESTS = HARNESS.parent
PACKAGE = Path(__file__).parents[2] / "daemon" / "reeldrop"
MODULES = sorted(
    ".".join(path.relative_to(PACKAGE).with_suffix("").parts) for path in PACKAGE.rglob("*.py")
)

LAYERS = (
    {"base"},
    {"host", "prompts", "schedule", "store", "speed"},
    {"video", "render", "page", "notices"},
    {"intake", "translation", "tune"},
    {"config"},
    {"cluster"},
    {"service"},
    {"commands"},
)
"""A package may import itself and the packages of the layers below it: not its neighbours."""

OWNERS = {
    "yaml": {"base.strict_yaml", "base.yaml_text"},
    "watchdog": {"intake.watch"},
    "torch": {
        "render.ahead",
        "render.clip_texts",
        "render.devices",
        "render.lora_layers",
        "render.loras",
        "render.measure",
        "render.pipeline",
        "render.placements",
        "render.previews",
        "render.renderer",
        "render.rendering",
        "render.split",
        "render.windows",
        "speed.fast",
        "speed.channels_last",
        "speed.unet3d",
        "speed.decoding",
        "speed.denoisers",
        "speed.texts",
        "speed.compiled",
        "speed.mixed_precision",
        "speed.lossy",
        "translation.worker",
        "tune.likeness",
    },
    "diffusers": {
        "render.loras",
        "render.pipeline",
        "render.parts",
        "render.quiet",
        "render.split",
        "speed.fast",
        "speed.channels_last",
        "speed.unet3d",
        "speed.decoding",
        "speed.lossy",
    },
    "torchao": {"render.parts"},
    "huggingface_hub": {"render.downloads", "render.hub_cache", "render.hub_errors"},
    "transformers": {"render.chunks", "render.quiet", "translation.worker"},
    "py3langid": {"translation.detection"},
    "av": {"video.encoder", "video.identity", "video.remote", "video.sheets", "video.sound"},
    "c2pa": {"video.signing"},
    "mutagen": {"video.mp4_index"},
    "PIL": {
        "render.pictures",
        "render.previews",
        "video.encoder",
        "video.labels",
        "video.sheets",
    },
    "ray": {"cluster.bridge", "cluster.joining", "cluster.lives"},
    "typer": {"commands.cli"},
    "apprise": {"notices.receivers"},
    "prometheus_client": {"notices.metrics"},
    "textual": {"commands.top_hands", "commands.top_screen"},
    "signal": {
        "cluster.actor",
        "service.service",
        "commands.notify",
        "commands.reload",
        "commands.top_screen",
        "host.process",
        "render.ranks",
        "intake.writers",
        "notices.receivers",
    },
}

NEEDED_TO_RENDER = {"torch", "diffusers", "transformers", "av", "PIL", "numpy", "watchdog"}

MAX_LINES = 350


@cache
def tree(module: str) -> ast.Module:
    """Return a module's syntax tree."""
    return ast.parse(_path(module).read_text(encoding="utf-8"))


def _path(module: str) -> Path:
    return PACKAGE / f"{module.replace('.', '/')}.py"


def outermost(read: ast.Module) -> Iterator[str]:
    """Yield the top-level names of all modules that a file imports."""
    for node in ast.walk(read):
        if isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield str(node.module).partition(".")[0]


@cache
def imported(module: str) -> frozenset[str]:
    """Return the full names of everything that a module imports, anywhere in it."""
    found = set[str]()
    for node in ast.walk(tree(module)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module} imports relatively"
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return frozenset(found)


def imported_libraries(module: str) -> set[str]:
    """Return the top-level packages that a module imports."""
    return {name.partition(".")[0] for name in imported(module)}


@cache
def imported_modules(module: str) -> frozenset[str]:
    """Return the modules of this package that a module imports, by their dotted names."""
    names = {name.removeprefix("reeldrop.") for name in imported(module) if "reeldrop." in name}
    return frozenset(
        known for known in MODULES for name in names if f"{name}.".startswith(f"{known}.")
    )


def package_of(module: str) -> str:
    """Return the package of a module; None for the two modules above all packages."""
    return module.rpartition(".")[0]


@pytest.mark.parametrize("library", OWNERS)
def test_each_foreign_library_has_one_owner(library: str) -> None:
    """Only its owner imports a library, so that it can be replaced."""
    users = {module for module in MODULES if library in imported_libraries(module)}
    assert users
    assert users <= OWNERS[library]


def test_every_package_has_a_layer() -> None:
    """A new package must be in the list of layers."""
    packages = {package_of(module) for module in MODULES} - {""}
    assert packages == set().union(*LAYERS)
    assert {"__init__", "__main__"} == {module for module in MODULES if not package_of(module)}


@pytest.mark.parametrize("package", sorted(set().union(*LAYERS)))
def test_packages_know_only_what_is_below_them(package: str) -> None:
    """Imports go downwards; packages of one layer do not know each other."""
    layer = next(number for number, packages in enumerate(LAYERS) if package in packages)
    below = {package}.union(*LAYERS[:layer])
    known = {
        package_of(other)
        for module in MODULES
        if package_of(module) == package
        for other in imported_modules(module)
    }
    assert known <= below


def test_what_opens_folders_knows_only_how_to_make_them() -> None:
    """`roots` imports only `durable`, and what reads the kernel's list of mounts."""
    assert {"base.durable", "base.proc"} == imported_modules("base.roots")


def test_records_import_no_library() -> None:
    """The records import no library; numpy only for the type checker."""
    libraries = imported_libraries("base.job") - set(sys.stdlib_module_names)
    assert {"numpy"} == libraries - {"reeldrop"}


def test_imports_have_no_cycles() -> None:
    """Each module can be read after the modules that it imports."""
    known: set[str] = set()
    while True:
        ready = {
            m for m in MODULES if m not in known and imported_modules(m) & set(MODULES) <= known
        }
        if not ready:
            break
        known |= ready
    assert set(MODULES) == known


@pytest.mark.parametrize(
    "module",
    [
        "commands.cli",
        "commands.submit",
        "commands.retry",
        "commands.cancel",
        "commands.pull",
        "config.config",
        "prompts.parsing",
        "store.history",
    ],
)
def test_commands_that_do_not_render_start_without_torch(module: str) -> None:
    """Only commands that render import torch."""
    script = f"import sys, reeldrop.{module};print(sorted({NEEDED_TO_RENDER!r} & set(sys.modules)))"
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert "[]\n" == done.stdout


def broad_handlers(module: str) -> list[int]:
    """Return the lines of a module's bare excepts and handlers of Exception."""
    return [
        node.lineno
        for node in ast.walk(tree(module))
        if isinstance(node, ast.ExceptHandler)
        and (
            node.type is None
            or any(getattr(part, "id", "") == "Exception" for part in ast.walk(node.type))
        )
    ]


def test_every_error_is_caught_in_eleven_places_only() -> None:
    """`except Exception` is allowed in eleven places, listed here."""
    found = {module: len(broad_handlers(module)) for module in MODULES if broad_handlers(module)}
    assert {
        "cluster.fleet": 1,
        "speed.compiled": 1,
        "intake.reading": 1,
        "notices.deliveries": 1,
        "page.page": 1,
        "render.previews": 1,
        "render.rank": 1,
        "render.renderer": 2,
        "translation.translator": 1,
        "translation.worker": 1,
    } == found


def test_whoever_catches_everything_lets_it_go_on() -> None:
    """A handler of BaseException only cleans up, and raises again."""
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
    """No module is longer than one can read at a sitting."""
    lines = _path(module).read_text(encoding="utf-8").splitlines()
    assert len(lines) <= MAX_LINES


@pytest.mark.parametrize("module", sorted(set(MODULES) - {"__init__"}))
def test_every_module_says_what_it_is_for(module: str) -> None:
    """Each module has a docstring."""
    assert ast.get_docstring(tree(module))


@pytest.mark.parametrize("package", sorted(set().union(*LAYERS)))
def test_every_package_says_what_its_modules_do(package: str) -> None:
    """Its docstring names each, and nothing else but packages; of commands, `cli` has the names."""
    named = set(re.findall("`([a-z0-9_]+)`", str(ast.get_docstring(tree(f"{package}.__init__")))))
    modules = {module.rpartition(".")[2] for module in MODULES if package_of(module) == package}
    assert set() == named - modules - set().union(*LAYERS)
    if package == "commands":
        named |= {node.name for node in ast.walk(tree("commands.cli")) if is_command(node)}
    assert set() == modules - named - {"__init__"}


def is_command(node: ast.AST) -> TypeGuard[ast.FunctionDef]:
    """Return whether a function is a command of the command line."""
    decorators = node.decorator_list if isinstance(node, ast.FunctionDef) else []
    return any(ast.unparse(found).startswith("app.command") for found in decorators)


def test_a_disk_that_fails_is_not_taken_for_a_missing_file() -> None:
    """`os.path.lexists` does so; where files are kept, `trouble.is_there` is asked."""
    keepers = [m for m in MODULES if package_of(m) in ("base", "intake", "store")]
    asking = {
        module
        for module in keepers
        for node in ast.walk(tree(module))
        if isinstance(node, ast.Attribute) and node.attr == "lexists"
    }
    assert {"base.trouble"} == asking  # for what it says of a disk, in words


def test_every_test_states_the_rule_that_it_holds() -> None:
    """A test without a docstring can't be distinguished from a wrong one."""
    silent = [
        f"{path.name}: {node.name}"
        for path in sorted(TESTS.rglob("test_*.py"))
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.FunctionDef)
        and node.name.startswith("test_")
        and not ast.get_docstring(node)
    ]
    assert [] == silent


def test_tests_and_benchmarks_share_only_the_harness() -> None:
    """No test imports another one, no benchmark a test, and the harness neither."""
    benchmarks = {path.stem for path in (TESTS.parent / "benchmarks").glob("*.py")}
    tests = {path.stem for path in TESTS.rglob("*.py") if HARNESS not in path.parents}
    tests |= {path.stem for path in TESTS.rglob("test_*.py")}
    forbidden = {
        **dict.fromkeys(TESTS.rglob("*.py"), tests),
        **dict.fromkeys((TESTS.parent / "benchmarks").glob("*.py"), tests),
        **dict.fromkeys(HARNESS.glob("[!t]*.py"), tests | benchmarks),
    }
    found = {
        f"{path.name} imports {name}"
        for path, names in forbidden.items()
        for name in names.intersection(outermost(ast.parse(path.read_text(encoding="utf-8"))))
    }
    assert set() == found


def test_no_two_files_of_tests_have_one_name() -> None:
    """pytest imports them by their names alone."""
    names = Counter(path.name for path in TESTS.rglob("test_*.py"))
    assert [] == [name for name, count in names.items() if count > 1]
