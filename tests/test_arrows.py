"""Who imports whom: arrows lead down. A new module is put into the lists below, in its place."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

import cryoprobe

ROOT = Path(cryoprobe.__file__).parent

STORES = [
    *("keys", "chunks"),
    *("local.config", "local.processes", "local.mounts", "local.looks", "local.sample_index", "local.remembered"),
    *("backends.backend", "backends.environment", "backends.memory", "backends.local_files", "backends.local"),
    *(
        "backends.http",
        "backends.objects",
        "backends.remote_files",
        "backends.object_cache",
        "backends.cache",
        "backends.locations",
    ),
    *("backends.layered", "format.documents", "format.marker", "format.chunk_reading"),
    *("format.origins", "format.predictions", "format.trials", "format.unit_seal"),
    *("format.provenance", "format.manifest"),
    *("format.names", "format.stored_names", "format.pins_and_removals", "format.sample_names"),
    *("samples", "feature_set"),
    *("writing.fences", "writing.claims", "writing.sample_claims", "writing.shared_work", "writing.seals"),
    "writing.units",
    *("writing.row_table", "writing.row_sources", "writing.row_index", "writing.sets"),
    *("store", "opening", "places"),
    *("keeping.verify", "keeping.quarantine", "keeping.pins", "keeping.usage", "keeping.history", "keeping.compare"),
    *("keeping.unreferenced", "keeping.repair_from_copies", "keeping.gc", "keeping.repair", "keeping.removal"),
    *("moving.transfer_plan", "moving.copying"),
    *("hub.place", "hub.index", "hub.rows", "hub.backend", "hub.card", "hub.client", "hub.sharing"),
    *("moving.transfer", "moving.archive", "moving.export"),
]
"""The modules of the store, from the bottom to the top: each imports only those before it."""

STORES_FOR_THE_PIPELINE = {
    *("opening", "places", "store", "feature_set", "format.names", "backends.remote_files"),
    *("local.config", "local.looks", "local.sample_index", "local.remembered"),
}
"""What the pipeline may import of the store."""

HEAVY = {"torch", "torchvision", "zarr", "sklearn", "scipy", "PIL", "timm", "open_clip", "obstore", "pyarrow"}
HEAVY |= {"huggingface_hub", "mlflow", "wandb", "transformers", "onnx", "onnxruntime", "torchcodec"}
"""What takes long to import."""


class Import(NamedTuple):
    """An import that runs: what it names, and whether that is when its module is imported."""

    name: str
    at_once: bool


def source(module: str) -> Path:
    """Return the file of a module, by its name within Cryoprobe."""
    path = ROOT.joinpath(*module.split("."))
    return path / "__init__.py" if path.is_dir() else path.with_suffix(".py")


def modules(folder: str) -> list[str]:
    """Return the names of all modules in a folder, and in those below it."""
    found = (path.relative_to(ROOT).with_suffix("") for path in (ROOT / folder).rglob("*.py"))
    return sorted(".".join(path.parts) for path in found if path.name != "__init__")


def imports(module: str) -> Iterator[Import]:
    """Yield what a module imports, but for its types alone; Cryoprobe's own modules by their names within it."""
    inside = [] if "." not in module else module.split(".")[:-1]

    def of(node: ast.AST, at_once: bool) -> Iterator[Import]:
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            return
        if isinstance(node, ast.Import):
            yield from (Import(alias.name.removeprefix("cryoprobe."), at_once) for alias in node.names)
        if isinstance(node, ast.ImportFrom):
            package = inside[: len(inside) - node.level + 1] if node.level else []
            above = ".".join([*package, *([node.module] if node.module else [])]).removeprefix("cryoprobe.")
            for alias in node.names:
                below = f"{above}.{alias.name}" if above else alias.name
                yield Import(below if source(below).is_file() else above, at_once)
        inner = at_once and not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
        for child in ast.iter_child_nodes(node):
            yield from of(child, inner)

    yield from of(ast.parse(source(module).read_text(encoding="utf-8")), True)


def test_imports_are_found_wherever_they_stand() -> None:
    assert Import("stores.format.trials", True) in imports("stores.store")  # from .format import trials
    assert Import("stores.chunks", True) in imports("stores.backends.local")  # from ..chunks import …
    assert Import("parallel", True) in imports("stores.keeping.gc")  # from ...parallel import …
    assert Import("zarr.storage", False) in imports("stores.chunks")  # inside a function
    assert Import("pipeline.quickstart", True) not in imports("commands.printing.console")  # its types alone


def test_every_module_of_the_store_has_its_place() -> None:
    assert sorted(STORES) == [name.removeprefix("stores.") for name in modules("stores")]


@pytest.mark.parametrize("module", STORES)
def test_modules_of_the_store_import_only_what_is_below_them(module: str) -> None:
    below = {f"stores.{name}" for name in STORES[: STORES.index(module)]}
    own = {i.name for i in imports(f"stores.{module}") if i.name.startswith("stores.")}
    assert own <= below


@pytest.mark.parametrize("module", modules("stores"))
def test_the_store_knows_no_pipeline_no_commands_and_no_torch(module: str) -> None:
    tops = {i.name.split(".")[0] for i in imports(module)}
    assert (
        tops & {"pipeline", "commands", "cli", "torch", "torchvision", "sklearn", "PIL", "timm", "open_clip"} == set()
    )


@pytest.mark.parametrize("module", sorted({p.stem for p in ROOT.glob("*.py")} - {"__init__", "__main__", "cli"}))
def test_modules_of_the_top_folder_know_no_folder(module: str) -> None:
    tops = {i.name.split(".")[0] for i in imports(module)}
    assert tops & {"stores", "pipeline", "commands", "cli", *HEAVY} == set()


@pytest.mark.parametrize("module", modules("pipeline"))
def test_the_pipeline_imports_of_the_store_only_what_it_may(module: str) -> None:
    found = [i.name for i in imports(module)]
    assert {name.removeprefix("stores.") for name in found if name.startswith("stores.")} <= STORES_FOR_THE_PIPELINE
    assert {name.split(".")[0] for name in found} & {"zarr", "commands", "cli"} == set()


def test_what_the_pipeline_may_import_it_does() -> None:
    found = {i.name for module in modules("pipeline") for i in imports(module)}
    assert {f"stores.{name}" for name in STORES_FOR_THE_PIPELINE} <= found


@pytest.mark.parametrize("module", [*modules("commands"), "cli"])
def test_commands_import_nothing_heavy_at_once(module: str) -> None:
    assert {i.name.split(".")[0] for i in imports(module) if i.at_once} & HEAVY == set()
