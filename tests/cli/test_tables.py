"""What people see on terminals of several widths, and what programs read from a pipe."""

from __future__ import annotations

import fcntl
import io
import os
import re
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len
from rich.console import Console
from support.cli import run

import cryoprobe
from cryoprobe import amounts
from cryoprobe.commands.printing import console, keeping_tables, tables, trial_tables, wording
from cryoprobe.pipeline.trials.result import Trial
from cryoprobe.pipeline.trials.sweep import Sweep, summarised
from cryoprobe.stores.format.names import Name, NamedSet
from cryoprobe.stores.format.pins_and_removals import Pin
from cryoprobe.stores.keeping.compare import Difference
from cryoprobe.stores.keeping.gc import Collected, Garbage
from cryoprobe.stores.keeping.usage import SetUsage, Usage
from cryoprobe.stores.keeping.verify import Verification
from cryoprobe.stores.moving.copying import Moved, MovedSet

WIDTHS = [60, 80, 100, 120, 160]
CREATED = 1795598287137
MODELS = [
    "quickstart:efficientnet_lite0",
    "open_clip:ViT-B-32/laion2b_s34b_b79k",
    "open_clip:ViT-B-16/laion2b_s34b_b88k",
    "timm:vit_large_patch14_reg4_dinov2.lvd142m",
]
DATASETS = ["sklearn:digits", "folder:/mnt/shared/data sets/imagenet-2012", "csv:/home/me/projects/birds/labels.csv"]

Shown = Callable[..., str]


def id_of(i: int) -> str:
    return f"{i + 1:064x}"[::-1]


def names() -> list[Name]:
    options: list[dict[str, Any]] = [
        {"limit": 60, "limit_seed": 0, "image_size": 32},
        {"untrained": True, "seed": 0},
        {"checkpoint": "ab" * 32},
        {},
    ]
    return [
        Name(model=model, dataset=dataset, split=("validation", "train")[i % 2], tap="post_projection", **options[i])
        for i, model in enumerate(MODELS)
        for dataset in DATASETS
    ]


def named_sets() -> list[NamedSet]:
    return [
        NamedSet(
            name=name, set=id_of(i), encoder="0" * 64, rows=1281167, dim=1024, failed=0, size=2713551872, named=CREATED
        )
        for i, name in enumerate(names())
    ]


def stored_trials(**changed: Any) -> list[Trial]:
    draws: list[dict[str, Any] | None] = [None, {"shots": 16}, {"fraction": 0.01}]
    return [
        trial(
            trial=id_of(i),
            name=name.model_dump(),
            dataset=name.dataset,
            model=name.model,
            tap=name.tap,
            probe=("logreg", "sklearn.linear_model.RidgeClassifier")[i % 2],
            chosen={"C": 0.316},
            rows={"train": 1153051, "val": 128116, "test": 50000},
            metric="mean_per_class_recall",
            metrics={"mean_per_class_recall": 0.7460, "macro_f1": 0.7, "top1": 0.75},
            converged=i % 2 == 0,
            test_in_train=1,
            **{"draw": draws[i % 3], **changed},
        )
        for i, name in enumerate(names())
    ]


def trial(**changed: Any) -> Trial:
    """Return a trial like those that a store has."""
    usual: dict[str, Any] = {
        "trial": "0" * 64,
        "protocol": "plain",
        "probe": "logreg",
        "params": {},
        "seed": 0,
        "name": {},
        "model": "m",
        "dataset": "d",
        "tap": "pooled",
        "features": "unit",
        "rows": {"train": 3, "val": 0, "test": 3},
        "dim": 4,
        "metric": "top1",
        "metrics": {},
        "intervals": {},
        "curve": [],
        "chosen": {},
        "chosen_by": None,
        "converged": True,
        "warnings": [],
        "test_in_train": 0,
        "classes": ["x"],
        "created": CREATED,
    }
    return Trial.model_validate({**usual, **changed})


def usage() -> Usage:
    sets = [SetUsage(set=s.set, name=s.name, size=s.size, own=12345678) for s in named_sets()]
    beside = dict.fromkeys(("units", "abandoned", "trials", "quarantine", "other", "leftovers"), 1)
    return Usage(sets=tuple(sets), models=dict.fromkeys(MODELS, 2713551872), total=1, **beside)


def pins() -> list[Pin]:
    why = "the sets of the paper, which must not be lost before it is accepted"
    return [Pin(set=id_of(i), why=why, user="someone", host="gpu-17.example.org", pinned=CREATED) for i in range(3)]


@pytest.fixture
def shown(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Shown:
    """Return a function that returns what another one prints on a terminal of some width, without colours."""

    def show(width: int, function: Callable[..., None], *args: Any, **options: Any) -> str:
        # Tables and lines go to one place, as they do on a terminal.
        screen = Console(width=width, force_terminal=True, file=sys.stdout)
        with monkeypatch.context() as patch:
            patch.setattr(console, "terminal", lambda: screen)
            function(*args, **options)
        return re.sub(r"\x1b\[[0-9;]*m", "", capsys.readouterr().out)

    return show


def body(text: str) -> Iterator[str]:
    """Yield the rows of a table: not its head, nor what stands below it on columns that are not shown."""
    for line in text.splitlines()[1:]:
        if line.startswith(("The same in", "Left out: ")) or " left out (" in line:
            return
        yield line


class TestWhatFits:
    @pytest.mark.parametrize("width", WIDTHS)
    def test_a_set_takes_one_line_and_its_id_is_whole(self, shown: Shown, width: int) -> None:
        found = named_sets()
        text = shown(width, console.named_sets, found)
        rows = list(body(text))
        assert [row.split()[0] for row in rows] == [s.set[:12] for s in found]
        assert max(map(cell_len, text.splitlines())) <= width
        assert text.splitlines()[0].split()[:3] == ["set", "model", "dataset"]

    @pytest.mark.parametrize("width", WIDTHS)
    def test_a_trial_takes_one_line_with_its_id_and_score(self, shown: Shown, width: int) -> None:
        found = stored_trials()
        text = shown(width, trial_tables.trials, found)
        rows = list(body(text))
        assert [row.split()[0] for row in rows] == [t["trial"][:12] for t in found]
        assert all(re.search(r"\b0\.7460\b", row) for row in rows)
        assert max(map(cell_len, text.splitlines())) <= width
        heads = re.split(r"  +", text.splitlines()[0])
        assert {"trial", "dataset", "model", "score"} <= {*heads}
        columns = [*["trial", "dataset", "model", "tap", "probe", "chosen", "draw", "train", "test", "score", "is"]]
        assert {*heads} <= {*columns, "mean recall", "macro F1", "run", "remarks"}  # none is broken

    @pytest.mark.parametrize("width", WIDTHS)
    def test_other_tables_are_no_wider_either(self, shown: Shown, width: int) -> None:
        text = shown(width, keeping_tables.usage, usage())
        assert sum(bool(re.match("[0-9a-f]{12} ", line)) for line in text.splitlines()) == len(named_sets())
        assert text.count("2.5 GiB") == len(named_sets()) + len(MODELS)
        assert max(map(cell_len, text.splitlines())) <= width
        text = shown(width, keeping_tables.pins, pins(), removed=False)
        assert [row.split()[0] for row in body(text)] == [p.set[:12] for p in pins()]
        assert max(map(cell_len, text.splitlines())) <= width

    @pytest.mark.parametrize("width", [70, 80, 120])
    def test_what_is_read_is_broken_between_words_and_stays(self, shown: Shown, width: int) -> None:
        found = cryoprobe.list_protocols()
        text = shown(width, trial_tables.protocols, found)
        assert max(map(cell_len, text.splitlines())) <= width
        assert text.splitlines()[0].endswith("what it is")
        words = {*text.split()}
        assert all({*p.description.split()} <= words and p.name in words for p in found)

    def test_what_is_left_out_is_said_in_one_line(self, shown: Shown) -> None:
        text = shown(120, console.named_sets, named_sets())
        heads = text.splitlines()[0]
        assert text.splitlines()[-1] == "The same in all rows: tap post_projection, size 2.5 GiB"
        assert not {"tap", "size"} & {*heads.split()}
        narrow = shown(60, trial_tables.trials, stored_trials())
        assert narrow.splitlines()[-1] == "3 columns left out (a wider terminal or --json has all)"
        assert "left out" not in shown(300, console.named_sets, named_sets()).lower()

    def test_of_a_sweep_the_columns_that_differ_stay(self, shown: Shown) -> None:
        sweep = [
            trial(trial=id_of(i), model="timm:vit_small_patch14", dataset="folder:/data/birds", draw={"shots": i})
            for i in range(1, 6)
        ]
        text = shown(60, trial_tables.trials, sweep)
        assert [f" {i} a class" in row for i, row in enumerate(body(text), 1)] == [True] * 5
        assert "dataset folder:/data/birds, model timm:vit_small_patch14" in " ".join(text.split())

    def test_a_wide_terminal_has_all_of_it(self, shown: Shown, capsys: pytest.CaptureFixture[str]) -> None:
        text = shown(400, trial_tables.trials, stored_trials())
        trial_tables.trials(stored_trials())
        piped = capsys.readouterr().out
        assert [line.rstrip() for line in text.splitlines()] == piped.splitlines()
        assert "…" not in text

    def test_columns_that_say_nothing_go_first(self, shown: Shown) -> None:
        found = stored_trials(draw=None)
        assert "draw" not in shown(140, trial_tables.trials, found).splitlines()[0].split()
        assert "draw" in shown(140, trial_tables.trials, stored_trials()).splitlines()[0].split()

    def test_nothing_is_lost_of_the_first_column_however_narrow(self, shown: Shown) -> None:
        text = shown(20, console.named_sets, named_sets())
        assert [row.split()[0] for row in body(text)] == [s.set[:12] for s in named_sets()]

    def test_thousands_of_rows_take_no_second(self, shown: Shown) -> None:
        found = named_sets() * 500
        start = time.process_time()
        assert len([*body(shown(80, console.named_sets, found))]) == len(found)
        assert time.process_time() - start < 5  # rich's own tables take 10 s

    def test_a_strangers_names_cannot_forge_rows_or_styles(self, shown: Shown) -> None:
        text = shown(80, console.table, ["class", "n"], [["[bold]a\n\x1b[2Jb", 1]])
        assert text.splitlines() == ["class                n", r"[bold]a\n\u001b[2Jb  1"]


class TestPipesAndTerminals:
    def test_nothing_is_shortened_or_left_out(self, capsys: pytest.CaptureFixture[str]) -> None:
        console.named_sets(named_sets())
        lines = capsys.readouterr().out.splitlines()
        assert len(lines) == 1 + len(named_sets())
        assert re.split(r"  +", lines[0])[-3:] == ["size", "extracted", "remarks"]
        for line, s in zip(lines[1:], named_sets(), strict=True):
            assert s.name.model in line
            assert s.name.dataset in line

    def test_a_terminal_is_asked_for_its_width(self, tmp_path: Path) -> None:
        images = tmp_path / "a folder of images with a rather long name"
        for kind in ("a", "b"):
            (images / kind).mkdir(parents=True)
            for i in range(2):
                # The smallest of formats, without a library.
                (images / kind / f"{i}.ppm").write_bytes(b"P6 2 2 255 " + bytes([ord(kind), i, 7] * 4))
        store = tmp_path / "store"
        small = ["--model", "timm:test_vit", "--untrained", "--image-size", "32"]
        run("extract", *small, "--dataset", f"folder:{images}", "--store", store)
        main, worker = os.openpty()
        fcntl.ioctl(worker, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
        environment = {k: v for k, v in os.environ.items() if k not in ("COLUMNS", "LINES")} | {"TERM": "xterm"}
        command = [sys.executable, "-m", "cryoprobe.cli", "ls", "--store", str(store)]
        subprocess.run(command, stdout=worker, stdin=worker, env=environment, check=True, timeout=60)
        os.close(worker)
        text = re.sub(r"\x1b\[[0-9;]*m", "", os.read(main, 65536).decode())
        os.close(main)
        lines = text.splitlines()
        assert len(lines) == 3
        assert re.match(r"[0-9a-f]{12}  timm:test_vit  .*…", lines[1])
        assert max(map(cell_len, lines)) <= 80
        assert "(a wider terminal or --json has all)" in lines[2]


class TestNames:
    def test_both_ends_of_a_model_stay_and_the_end_of_a_path(self) -> None:
        assert tables.shortened("model", ["quickstart:efficientnet_lite0"], 20) == ["quickstart…net_lite0"]
        assert tables.shortened("dataset", ["folder:/a/long/way/to/birds"], 20) == ["folder:…/to/birds"]
        assert tables.shortened("dataset", ["folder:/a/long/way/to/birds"], 21) == ["folder:…/way/to/birds"]
        assert tables.shortened("dataset", ["folder:/a/way/to/photographs"], 18) == ["…/to/photographs"]
        assert tables.shortened("remarks", ["limit 60 (seed 0), image size 32"], 10) == ["limit 60 …"]

    def test_different_names_stay_different_where_a_cut_can_tell_them_apart(self) -> None:
        found = ["limit 60 (seed 0), image size 32", "limit 60 (seed 0), image size 48"]
        assert len({*tables.shortened("remarks", found, 12)}) == 2
        found = ["timm:vit_small_patch16_a.augreg_in21k", "timm:vit_small_patch32_a.augreg_in21k"]
        assert len({*tables.shortened("model", found, 25)}) == 2

    @given(
        st.lists(st.lists(st.text("aé漢 /:1.…-", max_size=40), min_size=4, max_size=4), max_size=5),
        st.integers(30, 120),
    )
    def test_no_line_is_wider_than_the_terminal(self, rows: list[list[str]], width: int) -> None:
        heads = ["model", "dataset", "why", "by"]
        fitted = tables.fit(heads, rows, [False] * 4, width, spare=["by", "why"])
        assert all(cell_len(line) <= width for line in (fitted.head, *fitted.lines))
        assert len(fitted.lines) == len(rows)
        assert [head for head in heads if head not in fitted.left_out] == fitted.head.split()


class TestShow:
    DESCRIPTION: Mapping[str, Any] = {
        "set": "ab" * 32,
        "rows": 60,
        "size": 161193,
        "names": [{"model": "m", "dataset": "d", "untrained": False, "checkpoint": None}],
        "encoder": {"preprocessing": {"image_size": [48, 48], "mean": [0.5]}, "multilabel": False},
        "failed": [],
        "provenance": {
            "command": ["cryoprobe", "extract", "-d", "folder:/a b"],
            "created": CREATED,
            "name": {"model": "m", "checkpoint": None, "limit": 60, "untrained": True},
            "user": None,
            "versions": {"numpy": "2.4.6", "torch": "2.14.1"},
        },
    }

    def test_no_reprs_no_milliseconds_and_the_command_as_it_is_typed(self, capsys: pytest.CaptureFixture[str]) -> None:
        console.described(self.DESCRIPTION)
        lines = capsys.readouterr().out.splitlines()
        for line in (
            "size: 157.4 KiB",
            "  model m, dataset d",
            "  preprocessing:",
            "    image_size: 48, 48",
            "  multilabel: no",
            "failed: none",
            "  command: cryoprobe extract -d 'folder:/a b'",
            f"  created: {wording.when(CREATED)}",
            "  name: model m, limit 60, untrained",
            "  versions: numpy 2.4.6, torch 2.14.1",
        ):
            assert line in lines
        assert not re.search(r"[{}\[\]]|None|True|False", "\n".join(lines))

    @pytest.mark.parametrize("created", [10**30, -(10**30), "yesterday", None, True, [1]])
    def test_provenance_of_a_stranger_is_shown_somehow(self, created: Any, capsys: pytest.CaptureFixture[str]) -> None:
        deep: Any = 1
        for _ in range(50):
            deep = {"a\n": deep}
        strange = {
            "created": created,
            "command": "rm -rf",
            "versions": [1, {}],
            "name": "x",
            "deep": deep,
            "l": [[]],
        }
        console.described({"provenance": strange})
        lines = capsys.readouterr().out.splitlines()
        assert "  command: rm -rf" in lines
        assert len(lines) < 15


class TestWords:
    def test_one_is_not_many(self) -> None:
        assert [amounts.count(n, "set") for n in (0, 1, 2, 1000)] == ["0 sets", "1 set", "2 sets", "1,000 sets"]
        assert amounts.count(2, "class", "classes") == "2 classes"

    def test_one_set_and_one_trial(self, capsys: pytest.CaptureFixture[str]) -> None:
        found = Verification(sets=1, units=1, objects=1, bytes=1, hashed=1, hashed_bytes=1, data=True, damages=())
        console.verification(found)
        assert "1 set, 1 unit, 1 object, " in capsys.readouterr().out
        console.moved(Moved("a", "b", False, (), units=0, names=0, trials=1, objects=0, bytes=0))
        assert capsys.readouterr().out == "1 trial travelled from a to b\n"

    def test_a_dry_run_has_moved_nothing(self, capsys: pytest.CaptureFixture[str]) -> None:
        sets = tuple(MovedSet(id_of(i), outcome, 9, 100) for i, outcome in enumerate(("moved", "completed", "there")))
        console.moved(Moved("a", "b", True, sets, units=0, names=3, trials=0, objects=18, bytes=200))
        said = capsys.readouterr().out
        assert all(words in said for words in ("would move", "would be completed", "there", "(200 B) would travel"))
        assert "moved" not in said
        console.moved(Moved("a", "b", False, sets, units=0, names=3, trials=0, objects=18, bytes=200))
        assert "  moved " in capsys.readouterr().out

    @pytest.mark.parametrize(("waiting", "said"), [(0.0, "would delete all of it at once"), (60.0, "starts the grace")])
    def test_gc_says_what_delete_would_do(self, waiting: float, said: str, capsys: pytest.CaptureFixture[str]) -> None:
        found = (Garbage("unit", "units/a", 7, 0.0, False), Garbage("unit", "units/b", 7, waiting, False))
        keeping_tables.collected(Collected(found, delete=False, grace=waiting))
        assert said in capsys.readouterr().out

    def test_gc_counts_as_deleted_what_was(self, capsys: pytest.CaptureFixture[str]) -> None:
        found = (Garbage("unit", "units/a", 7, 0.0, True), Garbage("unit", "units/b", 7, 0.0, False))
        keeping_tables.collected(Collected(found, delete=True, grace=0.0))
        assert capsys.readouterr().out.splitlines()[1].split()[:5] == ["unit", "2", "14", "B", "1"]

    def test_removal_of_one_set(self, shown: Shown) -> None:
        found = named_sets()[0]

        class Store:
            url = "/store"

            def manifest_key(self, set_: str) -> str:
                return f"manifests/0/{set_}.json"

            def kind_of(self, digits: str) -> str:
                return "set"

            def names(self) -> list[NamedSet]:
                return [found]

        class Terminal(io.StringIO):
            def isatty(self) -> bool:
                return True

        said = io.StringIO()
        with pytest.raises(cryoprobe.BadInput, match="1 set would be removed"):
            keeping_tables.confirm_removal(Store(), [found.set], io.StringIO())  # type: ignore[arg-type]
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(sys, "stderr", said)
            text = shown(80, keeping_tables.confirm_removal, Store(), [found.set], Terminal("y\n"))
        assert "Remove 1 set from /store?" in said.getvalue()
        assert len(text.splitlines()) == 3
        assert text.splitlines()[1].startswith(found.set[:12])


class TestDiff:
    def of(self, a: str, b: str) -> Difference:
        return Difference(a, b, {"x": [1, 2]}, {}, (2, 2), 1, 1, 1, ("ab" * 32,), ("cd" * 32,), 0, None)

    def test_two_sets(self, capsys: pytest.CaptureFixture[str]) -> None:
        keeping_tables.difference(self.of("1" * 64, "2" * 64))
        assert capsys.readouterr().out.splitlines()[0].split() == ["field", "1" * 12, "2" * 12]

    def test_one_id_in_two_stores(self, capsys: pytest.CaptureFixture[str]) -> None:
        keeping_tables.difference(self.of("1" * 64, "1" * 64), ("/mine", "s3://team"))
        first, second, heads, *rest = capsys.readouterr().out.splitlines()
        assert (first, second) == (f"a: {'1' * 12}, in /mine", f"b: {'1' * 12}, in s3://team")
        assert heads.split() == ["field", "a", "b"]
        assert any("only in a: 1; only in b: 1" in line for line in rest)

    def test_one_id_twice_is_told_apart_all_the_same(self, capsys: pytest.CaptureFixture[str]) -> None:
        keeping_tables.difference(self.of("1" * 64, "1" * 64))
        assert "named first" in capsys.readouterr().out
        keeping_tables.difference(self.of("1" * 64, "1" * 63 + "2"))
        assert "1" * 63 + "2, named second" in capsys.readouterr().out


class TestScores:
    def test_are_listed_in_one_order_whether_computed_or_stored(self, capsys: pytest.CaptureFixture[str]) -> None:
        fresh = ["top1", "top5", "mean_per_class_recall", "macro_f1", "nll", "ece", "roc_auc", "zeal", "own"]
        said = []
        for names in (fresh, sorted(fresh)):
            each = {name: [0.5] for name in sorted(("recall", "precision", "f1", "support"))}
            metrics = {**dict.fromkeys(names, 0.5), "per_class": each}
            by_k = {k: 0.5 for k in sorted(["5", "10", "100"])}
            one = trial(metrics=metrics, top1_by_k=by_k, cached=False)
            trial_tables.probed(Sweep((one,), summarised([one]), 1.0, ()), per_class=True)
            said.append(capsys.readouterr().out)
        assert said[0] == said[1]
        lines = [line.split()[0] for line in said[0].splitlines()]
        assert lines[3:12] == [*fresh[:7], "own", "zeal"]
        assert lines[13:16] == ["5", "10", "100"]
        assert "class  recall  precision      f1  support" in said[0]
