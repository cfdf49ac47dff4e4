"""The command line as people meet it: output, exit codes, messages, what is imported."""

from __future__ import annotations

import json
import shlex
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.cli import Done, run
from support.data import wait_until, write_images

import cryoprobe

MODEL = ["--model", "timm:test_vit", "--untrained"]
SMALL = ["--image-size", "32"]


def run_process(*words: str | Path, code: int = 0) -> Done:
    done = subprocess.run(
        [sys.executable, "-m", "cryoprobe.cli", *map(str, words)], capture_output=True, text=True, check=False
    )
    assert done.returncode == code, f"{done.returncode}\n{done.stdout}\n{done.stderr}"
    assert "Traceback" not in done.stderr
    return Done(done.stdout, done.stderr)


def imported_by(code: str) -> set[str]:
    script = f"import sys\n{code}\nprint(' '.join(sorted({{m.partition('.')[0] for m in sys.modules}})))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    return set(done.stdout.splitlines()[-1].split())


@pytest.fixture
def data(tmp_path: Path) -> Path:
    write_images(tmp_path / "data" / "train", {"a": 20, "b": 20})
    write_images(tmp_path / "data" / "test", {"a": 10, "b": 10}, seed=1)
    return tmp_path / "data"


@pytest.fixture
def store(data: Path, tmp_path: Path) -> Path:
    encoder = cryoprobe.load_encoder("timm:test_vit", untrained=True, image_size=32)
    cryoprobe.extract(encoder, f"folder:{data}", tmp_path / "store")
    return tmp_path / "store"


@pytest.mark.slow
def test_extract_then_probe_then_results(data: Path, tmp_path: Path) -> None:
    where = ["--store", tmp_path / "store"]
    extracted = json.loads(
        run_process("extract", *MODEL, "--dataset", f"folder:{data}", *where, *SMALL, "--json").stdout
    )
    assert extracted["rows"] == extracted["encoded"] == 60
    assert extracted["sealed"] is True

    answer = json.loads(run_process("probe", *MODEL, "--dataset", f"folder:{data}", *where, "--json").stdout)
    assert {"protocol", "probe", "metric", "summary", "trials", "cached", "seconds", "notes"} <= answer.keys()
    (probed,) = answer["trials"]
    assert {"trial", "protocol", "probe", "chosen", "metrics", "cached"} <= probed.keys()
    assert probed["cached"] is False
    assert 0 <= probed["metrics"]["top1"] <= 1
    assert np.sum(probed["metrics"]["confusion"]) == 20
    answer = json.loads(run_process("probe", *MODEL, "--dataset", f"folder:{data}", *where, "--json").stdout)
    (again,) = answer["trials"]
    assert answer["cached"] == 1
    assert again["cached"] is True
    assert (again["trial"], again["metrics"]) == (probed["trial"], probed["metrics"])

    assert probed["trial"][:12] in run("results", *where).stdout
    listed = run("ls", *where).stdout
    assert extracted["set"][:12] in listed
    assert "--untrained" in listed
    assert "untrained" in run("results", *where).stdout
    shown = json.loads(run("show", extracted["set"][:10], *where, "--json").stdout)
    assert shown["set"] == extracted["set"]
    assert "clean" in run("verify", "--data", *where).stdout


def test_by_ids_and_with_parameters(store: Path) -> None:
    ids = {n.name.split: n.set for n in cryoprobe.open_store(store).names()}
    words = ["--store", store, "--train", ids["train"], "--test", ids["test"][:12]]
    ridge = run("probe", *words, "--probe", "sklearn.linear_model.RidgeClassifier", "--param", "alpha=0.5", "--json")
    assert json.loads(ridge.stdout)["trials"][0]["params"] == {"alpha": 0.5}
    (one,) = json.loads(run("probe", *words, "--C", "0.5", "--json").stdout)["trials"]
    assert one["chosen"] == {"C": 0.5}
    assert one["curve"] == []
    assert "top1" in run("probe", *words, "--probe", "knn", "--param", "k=3").stdout


def test_missing_features_come_with_the_command_that_makes_them(data: Path, tmp_path: Path, store: Path) -> None:
    (tmp_path / "with space").mkdir()
    (tmp_path / "with space" / "a").symlink_to(data / "train" / "a")
    (tmp_path / "with space" / "b").symlink_to(data / "train" / "b")
    other = ["--dataset", f"folder:{tmp_path / 'with space'}", "--store", store]
    failed = run("probe", *MODEL, *other, "--image-size", "32", code=3)
    command = next(line for line in failed.stderr.splitlines() if line.strip().startswith("cryoprobe extract"))
    run(*shlex.split(command)[1:], "--untrained")
    run("probe", *MODEL, *other, "--image-size", "32")


def test_each_kind_of_error_has_its_exit_code(data: Path, store: Path, tmp_path: Path) -> None:
    dataset = ["--dataset", f"folder:{data}"]
    assert "no feature store" in run("ls", "--store", tmp_path / "nowhere", code=3).stderr
    run("extract", *MODEL, code=2)
    assert "names no data set" in run("extract", *MODEL, "--dataset", str(data), "--store", store, code=2).stderr
    run("extract", *MODEL, "--dataset", "folder:/nowhere", "--store", store, code=3)
    assert "Traceback" not in run("extract", "--model", "nothing", *dataset, "--store", store, code=2).stderr
    assert "s3://" in run("ls", "--store", "ftp://host/x", code=2).stderr
    run("show", "ffffffff", "--store", store, code=3)
    run("probe", *MODEL, *dataset, "--store", store, "--probe", "sklearn.nope.Nope", code=2)
    run("probe", *MODEL, *dataset, "--store", store, "--C", "-1", code=2)
    run("probe", *MODEL, "--store", store, code=2)
    (store / "cryoprobe.json").write_text('{"format": "cryoprobe-store", "version": 99}')
    assert "Upgrade" in run("ls", "--store", store, code=6).stderr


def test_damage_is_named_and_stops_a_probe(data: Path, store: Path) -> None:
    chunk = next(store.glob("sets/*/*/embeddings/c/0/0"))
    raw = bytearray(chunk.read_bytes())
    raw[100] ^= 1
    chunk.write_bytes(raw)
    verified = run("verify", "--data", "--store", store, code=4)
    assert str(chunk.relative_to(store)) in verified.stdout
    failed = run("probe", *MODEL, "--dataset", f"folder:{data}", "--store", store, code=4)
    assert "embeddings/c/0/0" in failed.stderr


def test_a_store_that_cannot_be_written_says_so(data: Path, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    words = [*MODEL, "--dataset", f"folder:{data}", *SMALL]
    run("extract", *words, "--store", tmp_path / "file", code=2)
    run("extract", *words, "--store", tmp_path / "file" / "below", code=2)


def test_weights_that_cannot_be_had_are_named_with_the_way_out(data: Path, tmp_path: Path) -> None:
    words = ["--dataset", f"folder:{data}", "--store", tmp_path / "new"]
    message = run("extract", "--model", "timm:vit_tiny_patch16_224", *words, code=3).stderr
    assert "--checkpoint" in message
    assert "--untrained" in message
    assert not (tmp_path / "new").exists()


@pytest.mark.slow
def test_ctrl_c_stops_cleanly_and_the_same_command_goes_on(tmp_path: Path) -> None:
    write_images(tmp_path / "data", {"a": 100, "b": 100})
    words = ["extract", *MODEL, "--dataset", f"folder:{tmp_path / 'data'}", "--store", str(tmp_path / "s")]
    # Large enough to take seconds: on a busy machine we may see the first seal late.
    words += ["--image-size", "224", "--unit-rows", "8", "--batch-size", "2", "--json"]
    process = subprocess.Popen(
        [sys.executable, "-m", "cryoprobe.cli", *words], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    wait_until(lambda: list(tmp_path.glob("s/unit-seals/*/*.json")), lambda: process.poll() is None)
    process.send_signal(signal.SIGINT)
    output, errors = process.communicate()
    assert process.returncode == 130, errors
    assert "run the same command again" in errors
    assert "Traceback" not in errors
    assert output == ""
    assert not list(tmp_path.glob("s/claims/*/*.json"))
    done = json.loads(run(*words).stdout)
    assert done["rows"] == 200
    assert done["reused"] > 0


def test_a_probe_says_when_the_files_have_changed_since(data: Path, store: Path) -> None:
    words = ["probe", *MODEL, "--dataset", f"folder:{data}", "--store", store, "--C", "1"]
    assert "have changed" not in run(*words).stderr
    write_images(data / "train", {"a": 1}, seed=9)
    warned = run(*words)
    assert "have changed" in warned.stderr
    assert "(train)" in warned.stderr
    assert "(test)" not in warned.stderr


def test_where_only_dates_differ_a_probe_does_not_say_that_files_were_changed(data: Path, store: Path) -> None:
    words = ["probe", *MODEL, "--dataset", f"folder:{data}", "--store", store, "--C", "1"]
    for file in (data / "test").rglob("*.png"):
        file.chmod(0o600)
    said = run(*words).stderr
    assert "(test) may have changed since these features were extracted: their names, dates or sizes differ" in said
    assert "extract reads them again, and encodes only what differs" in said
    assert run("extract", *MODEL, *SMALL, "--dataset", f"folder:{data}", "--store", store)
    assert "changed" not in run(*words).stderr


def test_files_that_are_gone_are_said_to_be_gone(data: Path, store: Path, tmp_path: Path) -> None:
    table = tmp_path / "t.csv"
    table.write_text("path,label\n" + "".join(f"{p},{p.parent.name}\n" for p in (data / "train").rglob("*.png")))
    run("extract", *MODEL, *SMALL, "--dataset", f"csv:{table}", "--store", store)
    data.rename(tmp_path / "elsewhere")
    table.unlink()
    for dataset in (f"folder:{data}", f"csv:{table}"):
        said = run("probe", *MODEL, "--dataset", dataset, "--store", store, "--C", "1").stderr
        assert "are not here any more: it cannot be told whether they have changed" in said
        assert "may have changed" not in said
    (tmp_path / "elsewhere" / "test").rename(tmp_path / "test")
    (tmp_path / "elsewhere").rename(data)
    said = run("probe", *MODEL, "--dataset", f"folder:{data}", "--store", store, "--C", "1").stderr
    assert "(test) are not here any more" in said


def test_sets_of_two_encoders_are_never_combined(data: Path, store: Path) -> None:
    other = cryoprobe.load_encoder("timm:test_vit", untrained=True, image_size=32, seed=1)
    cryoprobe.extract(other, f"folder:{data}", store, splits=["train"])
    # Another seed was not asked for, and the test set has the default one.
    usual = json.loads(run("probe", *MODEL, "--dataset", f"folder:{data}", "--store", store, "--json").stdout)
    assert usual["name"]["seed"] == 0
    sets = [(n.encoder, n.set) for n in cryoprobe.open_store(store).names()]
    one = next(s for e, s in sets if e == sets[0][0])
    another = next(s for e, s in sets if e != sets[0][0])
    run("probe", "--store", store, "--train", one, "--test", another, code=7)


def test_probing_imports_neither_encoders_nor_images(store: Path, data: Path) -> None:
    modules = imported_by(
        f"import cryoprobe\ncryoprobe.probe({str(store)!r}, model='timm:test_vit', dataset='folder:{data}', C=(1.0,),"
        "untrained=True)"
    )
    assert not modules & {"open_clip", "timm", "torchvision"}  # torch itself solves logistic regression
    assert "sklearn" in modules


def test_probing_a_torchvision_set_of_files_does_not_open_it(store: Path, tmp_path: Path) -> None:
    write_images(tmp_path / "tv" / "eurosat" / "2750", {"River": 6, "Forest": 6})
    encoder = cryoprobe.load_encoder("timm:test_vit", untrained=True, image_size=32)
    cryoprobe.extract(encoder, "torchvision:EuroSAT", store, data_root=tmp_path / "tv")
    probe = (
        "import cryoprobe\n"
        f"r = cryoprobe.probe({str(store)!r}, model='timm:test_vit', dataset='torchvision:EuroSAT', C=1.0,"
        f" untrained=True, data_root={str(tmp_path / 'tv')!r})\n"
        "print(r['notes'])"
    )
    assert not imported_by(probe) & {"open_clip", "timm", "torchvision", "PIL"}
    write_images(tmp_path / "tv" / "eurosat" / "2750", {"River": 1})  # the first image, written again
    result = cryoprobe.probe(store, model="timm:test_vit", dataset="torchvision:EuroSAT", C=1.0, untrained=True)
    assert any("have changed" in note for note in result["notes"])


def test_help_and_import_are_light() -> None:
    heavy = {"torch", "zarr", "sklearn", "open_clip", "timm", "torchvision", "PIL", "numpy"}
    assert not imported_by("import cryoprobe") & heavy
    assert not imported_by(
        "import contextlib, io, cryoprobe.cli as c\n"
        "with contextlib.redirect_stdout(io.StringIO()), contextlib.suppress(SystemExit):\n"
        "    sys.argv = ['cryoprobe', '--help']\n"
        "    c.main()"
    ) & {*heavy} - {"numpy"}


def test_help_names_every_command_and_exit_code() -> None:
    text = run("--help").stdout
    for command in (
        "extract",
        "probe",
        "predict",
        "results",
        "ls",
        "show",
        "verify",
        "models",
        "datasets",
        "probes",
        "quickstart",
    ):
        assert command in text
    assert "130" in text
    assert cryoprobe.__version__ in run("--version").stdout


def test_cli_runs_as_a_script_too() -> None:
    script = Path(cryoprobe.__file__).with_name("cli.py")
    done = subprocess.run([sys.executable, str(script), "--version"], capture_output=True, text=True, check=True)
    assert done.stdout.startswith("cryoprobe ")


def test_models_and_datasets_are_listed() -> None:
    assert "open_clip:ViT-B-32/openai" in run("models", "ViT-B-32").stdout
    assert "quickstart:efficientnet_lite0" in run("models", "quickstart*").stdout
    kinds: list[dict[str, Any]] = json.loads(run("datasets", "--json").stdout)
    assert {"folder:PATH", "csv:FILE", "npz:FILE", "idx:PATH", "sklearn:digits", "torchvision:CIFAR100"} <= {
        k["name"] for k in kinds
    }
    assert all(k["example"] for k in kinds)
    assert {"logreg", "knn", "ridge"} <= {p["name"] for p in json.loads(run("probes", "--json").stdout)}
    assert "k=20" in run("probes").stdout


def test_output_into_a_closed_pipe_is_no_error(store: Path) -> None:
    command = f"{shlex.quote(sys.executable)} -m cryoprobe.cli models | head -n 1"
    done = subprocess.run(["bash", "-o", "pipefail", "-c", command], capture_output=True, text=True, check=False)
    assert "Traceback" not in done.stderr
