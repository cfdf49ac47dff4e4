"""Tables of encoded images: parquet files, and what the package datasets saves; and encoded images in npz files."""

from __future__ import annotations

import json
import random
import tracemalloc
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.containers import CLASSES, as_hub_parquet, as_parquet, samples

from cryoprobe.errors import BadInput, Conflict, CryoprobeError, NotFound, Unavailable
from cryoprobe.pipeline.datasets import load_dataset
from cryoprobe.pipeline.datasets.base import Split, UndecodableImage

pa = pytest.importorskip("pyarrow")
pq = pytest.importorskip("pyarrow.parquet")

FOUND = samples(30)
RAW = [s.raw for s in FOUND]
LABELS = [s.label for s in FOUND]


def write(path: Path, metadata: dict[str, Any] | None = None, **columns: Any) -> Path:
    table = pa.table(columns)
    if metadata is not None:
        table = table.replace_schema_metadata({"huggingface": json.dumps({"info": {"features": metadata}})})
    pq.write_table(table, path, row_group_size=7)
    return path


def opened(path: Path, split: str = "all", kind: str = "parquet", **options: Any) -> Split:
    return load_dataset(f"{kind}:{path}", **options).split(split)


def contents(split: Split, rows: Sequence[int] | None = None) -> list[bytes]:
    return [split.read(i) for i in (range(len(split)) if rows is None else rows)]


@pytest.mark.parametrize("label", ["text", "dictionary", "integer", "large", "narrow"])
@pytest.mark.parametrize("image", ["binary", "large_binary", "struct"])
def test_images_and_labels_of_any_arrow_type_are_read(image: str, label: str, tmp_path: Path) -> None:
    integers = [CLASSES.index(s) for s in LABELS]
    columns = {
        "text": pa.array(LABELS),
        "dictionary": pa.array(LABELS).dictionary_encode(),
        "integer": pa.array(integers),
        "large": pa.array(LABELS, pa.large_string()),
        "narrow": pa.array(integers, pa.uint8()),
    }
    images = {
        "binary": pa.array(RAW),
        "large_binary": pa.array(RAW, pa.large_binary()),
        "struct": pa.array([{"bytes": raw, "path": None} for raw in RAW]),
    }
    split = opened(write(tmp_path / "t.parquet", image=images[image], label=columns[label]))
    assert contents(split) == RAW
    assert split.classes == (CLASSES if label not in ("integer", "narrow") else ("0", "1", "2"))
    assert split.labels.tolist() == integers


def test_rows_are_read_in_any_order_and_from_threads(tmp_path: Path) -> None:
    as_parquet(tmp_path / "t.parquet", FOUND * 10, row_group_size=100)
    split = opened(tmp_path / "t.parquet")
    rows = list(range(300)) * 2
    random.Random(1).shuffle(rows)
    assert contents(split, rows) == [RAW[row % 30] for row in rows]
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(split.read, rows)) == [RAW[row % 30] for row in rows]


def test_a_path_in_a_row_is_a_file_beside_the_table(tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    for number, raw in enumerate(RAW):
        (tmp_path / "images" / f"{number}.jpg").write_bytes(raw)
    paths = [f"images/{n}.jpg" for n in range(30)]
    split = opened(write(tmp_path / "t.parquet", file_name=paths, label=LABELS))
    assert contents(split) == RAW
    assert split.path(3) == tmp_path / "images" / "3.jpg"
    assert split.describe(3) == "images/3.jpg"
    structs = [{"bytes": None, "path": path} for path in paths]
    split = opened(write(tmp_path / "s.parquet", image=structs, label=LABELS), image_column="image")
    assert contents(split) == RAW
    assert split.place(0) is None, "the date of the table does not tell whether that file was changed"  # type: ignore[attr-defined]


def test_columns_are_guessed_only_if_one_fits_and_can_be_told(tmp_path: Path) -> None:
    path = write(tmp_path / "t.parquet", left=RAW, right=RAW[::-1], label=LABELS, other=LABELS[::-1])
    with pytest.raises(
        BadInput, match=r"several columns that may be the image: left, right. Its columns: left \(binary"
    ):
        opened(path)
    split = opened(path, image_column="right", label_column="other")
    assert contents(split) == RAW[::-1]
    with pytest.raises(BadInput, match="has no column 'middle' that can be an image"):
        opened(path, image_column="middle")
    with pytest.raises(BadInput, match="has no column 'left' that can be a label"):
        opened(path, image_column="left", label_column="left")
    with pytest.raises(BadInput, match="no column that is surely the label"):
        opened(write(tmp_path / "u.parquet", image=RAW, score=[0.5] * 30))


def test_several_class_labels_are_a_conflict_that_lists_them(tmp_path: Path) -> None:
    kinds = {n: {"_type": "ClassLabel", "names": ["a", "b"]} for n in ("fine", "coarse")}
    features = {"img": {"_type": "Image"}, **kinds}
    structs = [{"bytes": raw, "path": None} for raw in RAW]
    path = write(tmp_path / "t.parquet", features, img=structs, fine=[0, 1] * 15, coarse=[1, 0] * 15)
    with pytest.raises(BadInput, match="may be the label: fine, coarse"):
        opened(path)
    assert opened(path, label_column="coarse").labels.tolist() == [1, 0] * 15


def test_class_labels_need_not_all_occur_and_their_names_may_be_numbered(tmp_path: Path) -> None:
    features = {"image": {"_type": "Image"}, "label": {"_type": "ClassLabel", "names": {"0": "x", "1": "y", "2": "z"}}}
    structs = [{"bytes": raw, "path": None} for raw in RAW]
    path = write(tmp_path / "t.parquet", features, image=structs, label=[0, 2] * 15)
    data = load_dataset(f"hf:{path}")
    assert data.split("all").classes == ("x", "y", "z")
    assert data.split("all").labels.tolist() == [0, 2] * 15
    assert "1 class of the 3 named has no image" in list(data.notes())  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("label", "message"),
    [
        ([None, *[0] * 29], r"1 row has no label \(null\), first row 0"),
        ([*[0] * 28, None, None], r"2 rows have no label \(null\), first row 28"),
        ([-1] * 30, "are -1, which is no class"),
        ([0] * 29 + [7], "the label 7 is not one of the 2 classes"),
        (["a"] * 29 + ["q"], "the label 'q' is not one of the 2 classes"),
    ],
)
def test_labels_that_are_missing_or_no_classes_are_refused(label: list[Any], message: str, tmp_path: Path) -> None:
    features = {"image": {"_type": "Image"}, "label": {"_type": "ClassLabel", "names": ["a", "b"]}}
    structs = [{"bytes": raw, "path": None} for raw in RAW]
    with pytest.raises(BadInput, match=message):
        opened(write(tmp_path / "t.parquet", features, image=structs, label=label))


def test_booleans_and_whole_floats_are_classes_and_other_floats_are_refused(tmp_path: Path) -> None:
    flags = [True, False, True] * 10
    split = opened(write(tmp_path / "t.parquet", image=RAW, label=flags))
    assert (split.classes, split.labels.tolist()) == (("false", "true"), [int(flag) for flag in flags])
    (tmp_path / "names.txt").write_text("no\nyes\n")
    assert opened(tmp_path / "t.parquet", class_names=tmp_path / "names.txt").classes == ("no", "yes")
    split = opened(write(tmp_path / "t.parquet", image=RAW, label=[2.0, 0.0, 2.0] * 10))
    assert (split.classes, split.labels.tolist()) == (("0", "2"), [1, 0, 1] * 10)
    with pytest.raises(BadInput, match=r"the labels are double|float64 \[30\], and one is 0.5: not a class"):
        opened(write(tmp_path / "t.parquet", image=RAW, label=[0.5, 1.0, 2.0] * 10))
    split = opened(write(tmp_path / "t.parquet", image=RAW, label=[0.5] * 30, category=LABELS))
    assert split.classes == CLASSES, "a column that can hold classes goes before one of numbers"


def test_a_note_says_which_columns_were_taken_and_what_names_the_classes(tmp_path: Path) -> None:
    path = write(tmp_path / "t.parquet", image=RAW, label=[0, 1, 2] * 10)
    (note,) = load_dataset(f"parquet:{path}").notes()  # type: ignore[attr-defined]
    assert note == (
        "1 parquet file, 30 rows. Columns: image image (bytes), label label (integer). 3 classes, named by the labels"
    )
    (tmp_path / "names.txt").write_text("ant\nbee\ncat\n")
    (note,) = load_dataset(f"parquet:{path}", class_names=tmp_path / "names.txt").notes()  # type: ignore[attr-defined]
    assert note.endswith("3 classes, named by --class-names")


def test_a_row_without_an_image_is_a_bad_sample(tmp_path: Path) -> None:
    rows = [None, {"bytes": None, "path": None}, {"bytes": RAW[0], "path": None}, {"bytes": b"", "path": None}]
    split = opened(write(tmp_path / "t.parquet", image=rows, label=LABELS[:4]))
    for row in (0, 1):
        with pytest.raises(UndecodableImage, match="has no image: the row is null"):
            split.read(row)
    assert split.read(2) == RAW[0]
    with pytest.raises(UndecodableImage, match="empty"):
        split.decode(split.read(3))


def test_files_that_do_not_belong_together_are_refused(tmp_path: Path) -> None:
    write(tmp_path / "a.parquet", image=RAW, label=LABELS)
    write(tmp_path / "b.parquet", image=RAW, label=list(range(30)))
    with pytest.raises(BadInput, match="do not belong together"):
        opened(tmp_path)
    write(tmp_path / "b.parquet", picture=RAW, label=LABELS)
    with pytest.raises(BadInput, match="has no column 'image'"):
        opened(tmp_path)


def test_what_is_no_parquet_file_or_damaged_is_one_clear_error(tmp_path: Path) -> None:
    for content in (b"", b"PAR1", b"hello" * 100):
        (tmp_path / "t.parquet").write_bytes(content)
        with pytest.raises(BadInput, match="cannot be read as parquet"):
            opened(tmp_path / "t.parquet")
    with pytest.raises(NotFound, match="There is no"):
        opened(tmp_path / "absent.parquet")
    with pytest.raises(NotFound, match="names no file"):
        opened(tmp_path / "*.none")
    with pytest.raises(BadInput, match="not a local file"):
        load_dataset("parquet:s3://bucket/a.parquet")
    with pytest.raises(BadInput, match="has no rows"):
        opened(write(tmp_path / "e.parquet", image=pa.array([], pa.binary()), label=pa.array([], pa.string())))


def test_damage_gives_no_other_kind_of_error(tmp_path: Path) -> None:
    as_parquet(tmp_path / "good.parquet", FOUND)
    whole, rng = (tmp_path / "good.parquet").read_bytes(), random.Random(0)
    for turn in range(60):
        broken = bytearray(whole)
        for _ in range(rng.choice((1, 30))):
            broken[rng.randrange(len(whole))] = rng.randrange(256)
        if turn % 4 == 0:
            del broken[rng.randrange(len(broken)) :]
        (tmp_path / "bad.parquet").write_bytes(broken)
        with suppress(CryoprobeError, UndecodableImage):
            contents(opened(tmp_path / "bad.parquet"))


def test_a_file_that_changes_meanwhile_is_a_conflict(tmp_path: Path) -> None:
    as_parquet(tmp_path / "t.parquet", FOUND)
    split = opened(tmp_path / "t.parquet")
    as_parquet(tmp_path / "t.parquet", samples(30, seed=9))
    with pytest.raises(Conflict, match="changed while it was used"):
        split.read(0)


def test_a_table_is_never_in_memory_as_a_whole(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 255, (400, 250_000), np.uint8)
    path = tmp_path / "big.parquet"
    pq.write_table(
        pa.table({"image": [row.tobytes() for row in noise], "label": ["a"] * 400}),
        path,
        row_group_size=400,
        write_batch_size=8,  # or else a page, which is unpacked as one, has up to 1,024 rows
        use_dictionary=False,
    )
    split = opened(path)
    before, most = pa.total_allocated_bytes(), 0
    tracemalloc.start()
    for row in range(400):
        assert split.read(row).startswith(noise[row, :8].tobytes())
        most = max(most, pa.total_allocated_bytes() - before)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert most + peak < 0.9 * noise.nbytes, f"{most:,}: 100 MB are in one row group"


# Configurations of a folder as the Hub keeps one

CONFIGS = """---
license: mit
configs:
- config_name: small
  data_files:
  - split: train
    path: small/part-*
  - split: validation
    path:
    - small/held.parquet
- config_name: large
  data_dir: large
---
# Insects
"""


@pytest.fixture
def hub_folder(tmp_path: Path) -> Path:
    root = tmp_path / "insects [v2]"
    as_hub_parquet(root / "small" / "part-0.parquet", FOUND[:6])
    as_hub_parquet(root / "small" / "part-1.parquet", FOUND[6:12])
    as_hub_parquet(root / "small" / "held.parquet", FOUND[12:15])
    as_hub_parquet(root / "large" / "train-00000-of-00001.parquet", FOUND)
    (root / "README.md").write_text(CONFIGS)
    return root


def test_a_configuration_of_a_folder_is_named_and_several_are_not_merged(hub_folder: Path) -> None:
    with pytest.raises(BadInput, match="several configurations: small, large") as refused:
        load_dataset(f"hf:{hub_folder}")
    assert f"hf:{hub_folder}:small" in str(refused.value)
    small = load_dataset(f"hf:{hub_folder}:small")
    assert list(small.splits) == ["train", "validation"]
    assert contents(small.split("train")) == RAW[:12]
    assert contents(small.split("validation")) == RAW[12:15]
    assert "Configuration small, of small, large" in list(small.notes())  # type: ignore[attr-defined]
    large = load_dataset(f"hf:{hub_folder}:large")
    assert (list(large.splits), contents(large.split("train"))) == (["train"], RAW)
    with pytest.raises(NotFound, match=r"no configuration 'huge'.*: small, large"):
        load_dataset(f"hf:{hub_folder}:huge")
    with pytest.raises(NotFound, match="names no file"):
        load_dataset(f"hf:{hub_folder}-none:small")


def test_a_default_configuration_is_taken_and_a_single_one_too(hub_folder: Path) -> None:
    readme = hub_folder / "README.md"
    readme.write_text(CONFIGS.replace("  data_dir: large", "  data_dir: large\n  default: true"))
    data = load_dataset(f"hf:{hub_folder}")
    assert contents(data.split("train")) == RAW
    assert "Configuration large, which is the default, of small, large" in list(data.notes())  # type: ignore[attr-defined]
    readme.write_text("---\nconfigs:\n- config_name: only\n  data_files: small/*\n---\n")
    assert sum(len(load_dataset(f"hf:{hub_folder}").split(s)) for s in load_dataset(f"hf:{hub_folder}").splits) == 15
    readme.write_text("---\nconfigs:\n- config_name: only\n  data_files: none/*\n---\n")
    with pytest.raises(NotFound, match=r"The configuration only of .* has the files none/\*, and no file"):
        load_dataset(f"hf:{hub_folder}")


@pytest.mark.parametrize(
    ("files", "found"),
    [
        ("{train: small/*, test: large/*}", ["train", "test"]),
        ("[{split: train, path: small/*}, {split: test, path: lrage/*}]", "The split test of .* lrage/"),
        ("[{path: small/*}, {path: large/*}]", "no patterns, nor patterns by split"),
        ("[{split: train, path: 3}]", "no patterns, nor patterns by split"),
        ("[{split: train, path: '*/*'}, {split: test, path: large/*}]", "in more than one split"),
    ],
)
def test_every_split_and_pattern_of_a_configuration_is_there_or_that_is_said(
    hub_folder: Path, files: str, found: str | list[str]
) -> None:
    (hub_folder / "README.md").write_text(f"---\nconfigs:\n- config_name: a\n  data_files: {files}\n---\n")
    if isinstance(found, list):
        assert list(load_dataset(f"hf:{hub_folder}").splits) == found
    elif "more than one" in found:
        assert any(found in note for note in load_dataset(f"hf:{hub_folder}").notes())  # type: ignore[attr-defined]
    else:
        with pytest.raises(CryoprobeError, match=found):
            load_dataset(f"hf:{hub_folder}")


def test_a_configuration_that_is_told_twice_is_refused(hub_folder: Path) -> None:
    twice = "- config_name: a\n  data_files: small/*\n"
    (hub_folder / "README.md").write_text(f"---\nconfigs:\n{twice}{twice}---\n")
    with pytest.raises(BadInput, match="have one config_name"):
        load_dataset(f"hf:{hub_folder}")


def test_configurations_that_are_only_described_have_folders_of_their_names(hub_folder: Path) -> None:
    infos = "---\ndataset_info:\n- config_name: small\n- config_name: large\n- config_name: gone\n---\n"
    (hub_folder / "README.md").write_text(infos)
    with pytest.raises(BadInput, match="several configurations: small, large"):
        load_dataset(f"hf:{hub_folder}")
    assert contents(load_dataset(f"hf:{hub_folder}:large").split("train")) == RAW
    (hub_folder / "README.md").write_text("# Insects\n")
    (hub_folder / "dataset_infos.json").write_text('{"small": {}, "large": {}}')
    with pytest.raises(BadInput, match="several configurations: small, large"):
        load_dataset(f"hf:{hub_folder}")


def test_without_configurations_all_files_are_one_data_set_and_a_broken_head_is_one_error(hub_folder: Path) -> None:
    readme = hub_folder / "README.md"
    for text in ("# Insects\n", "---\nlicense: mit\n---\n"):
        readme.write_text(text)
        data = load_dataset(f"hf:{hub_folder}")
        assert sum(len(data.split(split)) for split in data.splits) == 45
        with pytest.raises(NotFound, match="no configuration 'small'"):
            load_dataset(f"hf:{hub_folder}:small")
    out = "---\nconfigs:\n- config_name: a\n  data_files: ../*\n---\n"
    for text in (out, "---\nconfigs: [\n---\n", "---\nconfigs:\n- name: a\n---\n", "---\nconfigs: small\n---\n"):
        readme.write_text(text)
        with pytest.raises(BadInput, match=r"The head of .*README\.md cannot be read"):
            load_dataset(f"hf:{hub_folder}")


# The package datasets


@pytest.fixture(scope="module")
def datasets() -> Any:
    return pytest.importorskip("datasets")


def features(datasets: Any) -> Any:
    return datasets.Features({"image": datasets.Image(), "label": datasets.ClassLabel(names=list(CLASSES))})


def rows(n: int = 30) -> dict[str, Any]:
    return {
        "image": [{"bytes": raw, "path": None} for raw in RAW[:n]],
        "label": [CLASSES.index(label) for label in LABELS[:n]],
    }


def test_what_the_package_writes_as_parquet_is_read_as_the_hub_keeps_it(datasets: Any, tmp_path: Path) -> None:
    made = datasets.Dataset.from_dict(rows(), features=features(datasets))
    (tmp_path / "theirs").mkdir()
    made.to_parquet(str(tmp_path / "theirs" / "train-00000-of-00001.parquet"))
    as_hub_parquet(tmp_path / "ours" / "train-00000-of-00001.parquet", FOUND)
    one, other = (opened(tmp_path / which, "train", "hf") for which in ("theirs", "ours"))
    assert contents(one) == contents(other) == RAW
    assert one.classes == other.classes == CLASSES
    assert one.labels.tolist() == other.labels.tolist()


def test_configurations_are_those_that_the_package_finds(datasets: Any, hub_folder: Path, tmp_path: Path) -> None:
    renamed = hub_folder.rename(tmp_path / "insects")  # the package takes [v2] for a pattern
    assert datasets.get_dataset_config_names(str(renamed)) == ["small", "large"]
    for config in ("small", "large"):
        theirs = datasets.load_dataset(str(renamed), config, cache_dir=str(tmp_path / "theirs"))
        ours = load_dataset(f"hf:{renamed}:{config}")
        assert sorted(theirs) == sorted(ours.splits)
        for split, rows_ in theirs.items():
            stored = rows_.cast_column("image", datasets.Image(decode=False))
            assert [row["image"]["bytes"] for row in stored] == contents(ours.split(split))


def test_arrow_folders_are_read_with_their_order_and_in_several_files(datasets: Any, tmp_path: Path) -> None:
    made = datasets.Dataset.from_dict(rows(), features=features(datasets)).select(range(29, -1, -1))
    made.save_to_disk(str(tmp_path / "saved"), num_shards=3)
    split = opened(tmp_path / "saved", "all", "hf")
    assert contents(split) == RAW[::-1]
    assert len(split.sources) == 3
    with pytest.raises(BadInput, match="Name the folder that save_to_disk made"):
        opened(split.sources[0], "all", "hf")


def test_a_damaged_arrow_folder_is_one_clear_error(datasets: Any, tmp_path: Path) -> None:
    datasets.Dataset.from_dict(rows(), features=features(datasets)).save_to_disk(str(tmp_path / "saved"))
    (file,) = (tmp_path / "saved").glob("*.arrow")
    file.write_bytes(file.read_bytes()[:100])
    with pytest.raises(BadInput, match="cannot be opened by the package datasets"):
        opened(tmp_path / "saved", "all", "hf")
    with pytest.raises(NotFound, match="There is no"):
        opened(tmp_path / "absent", "all", "hf")


def test_the_hub_out_of_reach_is_one_clear_error(datasets: Any) -> None:
    with pytest.raises((Unavailable, NotFound), match="hf:nobody/nothing") as refused:
        load_dataset("hf:nobody/nothing")
    assert "hf:./nobody/nothing" in str(refused.value)


# Encoded images in npz files


def packed(found: Sequence[bytes]) -> dict[str, Any]:
    return {"images": np.frombuffer(b"".join(found), np.uint8), "offsets": np.cumsum([0, *map(len, found)])}


def test_encoded_images_in_npz_files_have_the_ids_of_files(tmp_path: Path) -> None:
    for save in (np.savez, np.savez_compressed):
        save(tmp_path / "t.npz", **packed([*RAW, b"\0\0"]), labels=np.array([*LABELS, "ant"]))
        split = opened(tmp_path / "t.npz", "all", "npz")
        assert contents(split) == [*RAW, b"\0\0"]
        assert split.classes == CLASSES
        assert split.decode(split.read(0)).size == (24, 24)


@pytest.mark.parametrize("offsets", [[0, 5], [0, 7, 5, 10], [1, 5, 7, 10], [0, 5, 7, 9], [0.0, 5.0, 7.0, 10.0]])
def test_offsets_that_do_not_fit_are_refused(offsets: list[float], tmp_path: Path) -> None:
    np.savez(tmp_path / "t.npz", images=np.zeros(10, np.uint8), offsets=np.array(offsets), labels=np.array(["a"] * 3))
    with pytest.raises(BadInput, match=r"offsets does not tell where the 3 encoded images[\s\S]*np\.cumsum"):
        opened(tmp_path / "t.npz", "all", "npz")


def test_byte_strings_of_a_fixed_width_are_refused_since_they_lose_zeros(tmp_path: Path) -> None:
    np.savez(tmp_path / "t.npz", images=np.array(RAW), labels=np.array(LABELS))
    with pytest.raises(BadInput, match="which drop zeros at the end of an image"):
        opened(tmp_path / "t.npz", "all", "npz")
