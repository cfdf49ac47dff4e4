import os
import random
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from cryoprobe.errors import BadInput, NotFound
from cryoprobe.pipeline.datasets import Dataset, Split, load_dataset
from cryoprobe.stores.local.looks import fingerprint

FLAT = ("cat/1.png", "cat/2.png", "dog/1.png")
SPLIT = ("train/cat/1.png", "train/dog/1.png", "train/dog/2.png", "test/cat/1.png")


def put(root: Path, *files: str) -> Path:
    for file in files:
        path = root / file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(file.encode("utf-8", "surrogateescape"))
    return root


def folder(root: Path) -> Dataset:
    return load_dataset(f"folder:{root}")


def table(root: Path, text: str | bytes, name: str = "labels.csv") -> Dataset:
    root.mkdir(exist_ok=True)
    (root / name).write_bytes(text.encode() if isinstance(text, str) else text)
    return load_dataset(f"csv:{root / name}")


def names(split: Split) -> list[str]:
    return [split.describe(i) for i in range(len(split))]


def labelled(split: Split) -> dict[str, str]:
    return {split.describe(i): split.classes[split.labels[i]] for i in range(len(split))}


def state(root: Path, split: str) -> bytes:
    return fingerprint(folder(root).split(split).sources)


@pytest.fixture
def nobody() -> Iterator[Path]:
    """Give a folder, and the rights of a user who may read only what everybody may."""
    with tempfile.TemporaryDirectory() as name:
        folder_ = Path(name)
        folder_.chmod(0o755)
        yield folder_
        for path in folder_.rglob("*"):
            path.chmod(0o755)


class Nobody:
    """Root reads everything: take the rights off for a moment."""

    def __enter__(self) -> None:
        self.root = os.geteuid() == 0
        if self.root:
            os.seteuid(65534)

    def __exit__(self, *_: object) -> None:
        if self.root:
            os.seteuid(0)


# Folders


def test_a_folder_of_class_folders_is_one_split_called_all(tmp_path: Path) -> None:
    data = folder(put(tmp_path, *FLAT))
    split = data.split("all")
    assert list(data.splits) == ["all"]
    assert data.name == f"folder:{tmp_path}"
    assert split.name == "all"
    assert split.classes == ("cat", "dog")
    assert labelled(split) == {"cat/1.png": "cat", "cat/2.png": "cat", "dog/1.png": "dog"}
    assert split.labels.dtype == np.int64
    assert [split.read(i) for i in range(3)] == [b"cat/1.png", b"cat/2.png", b"dog/1.png"]
    assert [split.path(i) for i in range(3)] == [tmp_path / name for name in FLAT]


def test_a_folder_of_splits_has_those_with_train_first(tmp_path: Path) -> None:
    data = folder(put(tmp_path, *SPLIT, "val/dog/9.png"))
    assert list(data.splits) == ["train", "val", "test"]
    assert names(data.split("train")) == ["train/cat/1.png", "train/dog/1.png", "train/dog/2.png"]
    assert names(data.split("test")) == ["test/cat/1.png"]
    assert data.split("train") is data.split("train")


def test_every_split_has_the_classes_of_all_splits(tmp_path: Path) -> None:
    data = folder(put(tmp_path, "train/bee/1.png", "train/cat/1.png", "test/ant/1.png", "test/cat/1.png"))
    assert data.split("train").classes == data.split("test").classes == ("ant", "bee", "cat")
    assert data.split("train").labels.tolist() == [1, 2]
    assert data.split("test").labels.tolist() == [0, 2]


def test_files_at_any_depth_below_a_class_are_of_that_class(tmp_path: Path) -> None:
    split = folder(put(tmp_path, "cat/1.png", "cat/2020/may/2.png", "dog/3.png", "dog/cat/4.png")).split("all")
    assert labelled(split) == {
        "cat/1.png": "cat",
        "cat/2020/may/2.png": "cat",
        "dog/3.png": "dog",
        "dog/cat/4.png": "dog",
    }


def test_one_class_with_files_of_its_own_makes_the_top_folders_classes(tmp_path: Path) -> None:
    data = folder(put(tmp_path, "cat/1.png", "dog/big/2.png", "dog/small/3.png"))
    assert list(data.splits) == ["all"]
    assert data.split("all").classes == ("cat", "dog")


def test_a_class_may_be_called_train(tmp_path: Path) -> None:
    data = folder(put(tmp_path, "bus/1.png", "train/1.png", "train/steam/2.png"))
    assert list(data.splits) == ["all"]
    assert labelled(data.split("all")) == {"bus/1.png": "bus", "train/1.png": "train", "train/steam/2.png": "train"}


def test_hidden_files_and_what_desktops_leave_behind_are_no_samples(tmp_path: Path) -> None:
    junk = (".DS_Store", "Thumbs.db", "desktop.ini", "Icon\r", "cat/._1.png", "cat/.DS_Store", "dog/Thumbs.db")
    folders = (".git/config", "cat/.ipynb_checkpoints/1.png", "__MACOSX/cat/._1.png", "cat/@eaDir/1.png/thumb.jpg")
    split = folder(put(tmp_path, *FLAT, *junk, *folders)).split("all")
    assert names(split) == list(FLAT)
    assert split.classes == ("cat", "dog")


def test_what_a_zip_of_a_mac_leaves_behind_is_no_split(tmp_path: Path) -> None:
    data = folder(put(tmp_path, *SPLIT, "__MACOSX/train/cat/._1.png"))
    assert list(data.splits) == ["train", "test"]
    assert data.split("train").classes == ("cat", "dog")


@pytest.mark.parametrize("name", ["cat/photo.heic", "cat/photo", "cat/photo.jpg_large", "cat/1.2", "cat/raw.DNG"])
def test_a_file_that_may_be_an_image_by_its_name_is_a_sample(tmp_path: Path, name: str) -> None:
    assert name in names(folder(put(tmp_path, *FLAT, name)).split("all"))


@pytest.mark.parametrize(
    ("files", "stray"),
    [
        ((*FLAT, "0.png"), "0.png"),
        ((*SPLIT, "train/0.png"), "train/0.png"),
        ((*SPLIT, "test/0"), "test/0"),
    ],
)
def test_a_file_without_a_class_is_refused_by_name(tmp_path: Path, files: tuple[str, ...], stray: str) -> None:
    with pytest.raises(BadInput, match="beside the class folders") as refused:
        folder(put(tmp_path, *files))
    assert refused.value.key == str(tmp_path / stray)


def test_an_empty_class_keeps_its_number(tmp_path: Path) -> None:
    put(tmp_path, *FLAT)
    (tmp_path / "cow").mkdir()
    split = folder(tmp_path).split("all")
    assert split.classes == ("cat", "cow", "dog")
    assert split.labels.tolist() == [0, 0, 2]


def test_a_split_of_empty_classes_is_empty(tmp_path: Path) -> None:
    put(tmp_path, *SPLIT)
    (tmp_path / "val" / "cat").mkdir(parents=True)
    split = folder(tmp_path).split("val")
    assert len(split) == 0
    assert split.classes == ("cat", "dog")
    assert split.labels.shape == (0,)


@pytest.mark.parametrize("files", [(), ("1.png", "2.png"), (".hidden/1.png",)])
def test_a_folder_without_class_folders_says_what_is_expected(tmp_path: Path, files: tuple[str, ...]) -> None:
    with pytest.raises(BadInput, match="PATH/CLASS") as refused:
        folder(put(tmp_path, *files))
    assert str(tmp_path) in str(refused.value)


def test_a_folder_that_is_not_there_is_not_found(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="no folder") as missing:
        folder(tmp_path / "absent")
    assert missing.value.key == str(tmp_path / "absent")
    with pytest.raises(NotFound):
        folder(tmp_path / ("x" * 300))
    (tmp_path / "circle").symlink_to("circle")
    with pytest.raises(NotFound):
        folder(tmp_path / "circle")


def test_a_file_in_place_of_the_folder_is_said_to_be_one(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="is a file") as refused:
        folder(put(tmp_path, "labels.csv") / "labels.csv")
    assert "csv:" in str(refused.value)


@pytest.mark.parametrize("closed", [".", "cat", "cat/deep"])
def test_a_folder_that_may_not_be_listed_is_named(nobody: Path, closed: str) -> None:
    put(nobody, *FLAT, "cat/deep/3.png")
    (nobody / closed).chmod(0)
    with Nobody(), pytest.raises(BadInput, match="cannot be listed: Permission denied") as refused:
        folder(nobody).split("all")
    assert refused.value.key == str(nobody / closed)


def test_a_folder_that_may_be_listed_but_not_entered_is_an_error_that_says_so(nobody: Path) -> None:
    put(nobody, *FLAT)
    (nobody / "cat").chmod(0o444)
    with Nobody(), pytest.raises(BadInput, match=r"cat/1\.png cannot be opened: Permission denied"):
        folder(nobody)


def test_a_folder_behind_a_closed_one_is_an_error_that_names_it(nobody: Path) -> None:
    put(nobody, "home/photos/cat/1.png")
    (nobody / "home").chmod(0)
    with Nobody(), pytest.raises(BadInput, match="Permission denied") as refused:
        folder(nobody / "home" / "photos")
    assert str(nobody / "home" / "photos") in str(refused.value)


def test_an_image_that_may_not_be_read_is_a_sample_that_fails_when_read(nobody: Path) -> None:
    put(nobody, *FLAT)
    (nobody / "cat" / "2.png").chmod(0)
    with Nobody():
        split = folder(nobody).split("all")
        assert split.read(0) == b"cat/1.png"
        with pytest.raises(PermissionError):
            split.read(1)


def test_links_to_files_and_folders_are_followed(tmp_path: Path) -> None:
    store = put(tmp_path / "store", "a.png", "birds/b.png")
    root = put(tmp_path / "data", "cat/1.png")
    (root / "cat" / "linked.png").symlink_to(store / "a.png")
    (root / "bird").symlink_to(store / "birds", target_is_directory=True)
    split = folder(root).split("all")
    assert labelled(split) == {"bird/b.png": "bird", "cat/1.png": "cat", "cat/linked.png": "cat"}
    assert split.read(2) == b"a.png"


@pytest.mark.parametrize("target", [".", "..", "../.."])
def test_a_link_in_a_circle_ends(tmp_path: Path, target: str) -> None:
    put(tmp_path, "cat/deep/1.png", "cat/2.png")
    (tmp_path / "cat" / "deep" / "link").symlink_to(target, target_is_directory=True)
    found = names(folder(tmp_path).split("all"))
    assert [name for name in found if "link" not in name] == ["cat/2.png", "cat/deep/1.png"]
    assert all(name.count("link") <= 1 for name in found)


def test_a_link_to_nothing_is_a_sample_that_fails_when_read(tmp_path: Path) -> None:
    put(tmp_path, *FLAT)
    (tmp_path / "cat" / "0.png").symlink_to("nowhere.png")
    split = folder(tmp_path).split("all")
    assert names(split)[0] == "cat/0.png"
    with pytest.raises(OSError, match=r"0\.png"):
        split.read(0)


def test_names_that_are_not_utf_8_are_kept_and_can_be_printed(tmp_path: Path) -> None:
    folder_ = os.fsencode(tmp_path) + b"/caf\xe9"
    Path(os.fsdecode(folder_)).mkdir()
    Path(os.fsdecode(folder_ + b"/\xff.png")).write_bytes(b"pixels")
    split = folder(tmp_path).split("all")
    assert split.classes == (r"caf\xe9",)
    assert names(split) == [r"caf\xe9/\xff.png"]
    assert split.read(0) == b"pixels"
    fingerprint(split.sources)


def test_names_of_other_scripts_are_kept_as_they_are(tmp_path: Path) -> None:
    files = ("Äpfel/1 2.png", "猫/ねこ.png", "🐈/x.png")
    assert names(folder(put(tmp_path, *files)).split("all")) == list(files)


def test_the_order_does_not_depend_on_the_order_of_creation(tmp_path: Path) -> None:
    files = [f"{c}/{sub}{i}.png" for c in ("b", "a", "a-b") for sub in ("", "1/", "A/") for i in (10, 9, 1)]
    orders = []
    for seed in range(4):
        random.Random(seed).shuffle(files)
        orders.append(names(folder(put(tmp_path / str(seed), *files)).split("all")))
    assert orders[0] == sorted(files)
    assert all(order == orders[0] for order in orders)


def test_upper_and_lower_case_are_ordered_by_code_point_whatever_the_locale_says(tmp_path: Path) -> None:
    split = folder(put(tmp_path, "b/1.PNG", "B/1.png", "a/1.png", "é/1.png")).split("all")
    assert split.classes == ("B", "a", "b", "é")


@pytest.mark.parametrize("split", ["train", "test"])
def test_any_change_of_a_folder_changes_the_fingerprint_of_its_sources(tmp_path: Path, split: str) -> None:
    put(tmp_path, *SPLIT, f"{split}/cat/deep/7.png")
    states = [state(tmp_path, split)]
    assert state(tmp_path, split) == states[0]

    put(tmp_path, f"{split}/cat/new.png")
    states.append(state(tmp_path, split))
    (tmp_path / split / "cat" / "new.png").rename(tmp_path / split / "cat" / "renamed.png")
    states.append(state(tmp_path, split))
    (tmp_path / split / "cat" / "renamed.png").rename(tmp_path / split / "cat" / "deep" / "renamed.png")
    states.append(state(tmp_path, split))
    (tmp_path / split / "cat" / "deep" / "renamed.png").write_bytes(b"other content")
    states.append(state(tmp_path, split))
    (tmp_path / split / "cat" / "deep" / "renamed.png").unlink()
    states.append(state(tmp_path, split))
    (tmp_path / split / "cat").rename(tmp_path / split / "puma")
    states.append(state(tmp_path, split))
    (tmp_path / split / "emu").mkdir()
    states.append(state(tmp_path, split))
    assert len(set(states)) == len(states)


def test_what_was_listed_once_notices_files_that_come_and_go_later(tmp_path: Path) -> None:
    sources = folder(put(tmp_path, *FLAT)).split("all").sources
    before = fingerprint(sources)
    put(tmp_path, "cat/3.png")
    after = fingerprint(sources)
    (tmp_path / "cat" / "1.png").unlink()
    assert len({before, after, fingerprint(sources)}) == 3


def test_a_new_class_in_one_split_changes_the_fingerprint_of_the_others(tmp_path: Path) -> None:
    # The class list of the other split changes with it, and all of its labels.
    put(tmp_path, *SPLIT)
    before = state(tmp_path, "train")
    put(tmp_path, "test/ant/1.png")
    assert folder(tmp_path).split("train").classes == ("ant", "cat", "dog")
    assert state(tmp_path, "train") != before


def test_a_split_that_comes_later_changes_the_fingerprint_of_those_there_were(tmp_path: Path) -> None:
    put(tmp_path, *SPLIT)
    before = state(tmp_path, "train")
    put(tmp_path, "val/ant/1.png")
    assert state(tmp_path, "train") != before


# Tables


def test_a_table_has_paths_relative_to_itself(tmp_path: Path) -> None:
    put(tmp_path, "images/1.png", "images/2.png")
    split = table(tmp_path / "images", "path,label\n1.png,cat\n../images/2.png,dog\n").split("all")
    assert split.classes == ("cat", "dog")
    assert [split.read(i) for i in range(2)] == [b"images/1.png", b"images/2.png"]
    assert split.describe(0) == "1.png"
    assert split.path(0) == tmp_path / "images" / "1.png"


def test_a_table_keeps_its_own_order(tmp_path: Path) -> None:
    split = table(tmp_path, "path,label\nz.png,b\na.png,a\nm.png,b\n").split("all")
    assert names(split) == ["z.png", "a.png", "m.png"]
    assert split.labels.tolist() == [1, 0, 1]


def test_absolute_paths_are_taken_as_they_are(tmp_path: Path) -> None:
    image = put(tmp_path, "elsewhere/1.png") / "elsewhere" / "1.png"
    split = table(tmp_path / "table", f"path,label\n{image},cat\n").split("all")
    assert split.read(0) == b"elsewhere/1.png"
    assert split.describe(0) == str(image)


@pytest.mark.parametrize(
    "text",
    [
        "path,label,split\na.png,cat,train\nb.png,dog,test\n",
        "\ufeffpath,label,split\na.png,cat,train\nb.png,dog,test\n",
        "path,label,split\r\na.png,cat,train\r\nb.png,dog,test\r\n",
        "path,label,split\na.png,cat,train\nb.png,dog,test",
        '"path","label","split"\n"a.png","cat","train"\n"b.png","dog","test"\n',
        " path , label, split\n a.png , cat,train \nb.png,\tdog , test\n",
        "split,note,label,path\ntrain,x,cat,a.png\ntest,y,dog,b.png\n",
        "path,label,split\n\na.png,cat,train\n\n\nb.png,dog,test\n\n",
    ],
    ids=["plain", "bom", "crlf", "no-last-line-feed", "quoted", "spaces", "other-order", "empty-lines"],
)
def test_a_table_reads_the_same_in_every_dialect(tmp_path: Path, text: str) -> None:
    data = table(tmp_path, text)
    assert list(data.splits) == ["train", "test"]
    assert labelled(data.split("train")) == {"a.png": "cat"}
    assert labelled(data.split("test")) == {"b.png": "dog"}
    assert data.split("train").classes == data.split("test").classes == ("cat", "dog")


def test_quotes_keep_commas_and_line_feeds(tmp_path: Path) -> None:
    split = table(tmp_path, 'path,label\n"a,b ""c"".png","black, or\nwhite"\n').split("all")
    assert labelled(split) == {'a,b "c".png': "black, or\nwhite"}


def test_integer_labels_are_ordered_by_number_and_other_labels_by_code_point(tmp_path: Path) -> None:
    rows = "path,label\n" + "".join(f"{i}.png,{label}\n" for i, label in enumerate(("10", "9", "-1", "100")))
    assert table(tmp_path, rows).split("all").classes == ("-1", "9", "10", "100")
    assert table(tmp_path, rows + "x.png,a\n").split("all").classes == ("-1", "10", "100", "9", "a")
    assert table(tmp_path, rows).split("all").labels.tolist() == [2, 1, 0, 3]


def test_labels_that_are_the_same_number_are_ordered_alike_in_every_process(tmp_path: Path) -> None:
    table(tmp_path, "path,label\na,1\nb,01\nc,001\nd,+1\ne,0\nf,00\n")
    code = f"from cryoprobe import load_dataset; print(load_dataset('csv:{tmp_path}/labels.csv').split('all').classes)"
    orders = {
        subprocess.run(
            [sys.executable, "-c", code],
            env={**os.environ, "PYTHONHASHSEED": str(seed)},
            capture_output=True,
            text=True,
        ).stdout
        for seed in range(3)
    }
    assert orders == {"('0', '00', '+1', '001', '01', '1')\n"}


def test_a_bar_in_any_label_makes_the_table_multi_label(tmp_path: Path) -> None:
    data = table(
        tmp_path, "path,label,split\na,sea|sky,train\nb,sky,train\nc,,train\nd,sea|sea,train\ne,sand|sky,test\n"
    )
    split = data.split("train")
    assert split.classes == data.split("test").classes == ("sand", "sea", "sky")
    assert split.labels.dtype == np.uint8
    assert split.labels.tolist() == [[0, 1, 1], [0, 0, 1], [0, 0, 0], [0, 1, 0]]
    assert data.split("test").labels.tolist() == [[1, 0, 1]]


def test_spaces_around_the_bar_are_no_part_of_a_label(tmp_path: Path) -> None:
    split = table(tmp_path, "path,label\na,sea | deep sky\nb,deep sky|sea\nc,|sea|\n").split("all")
    assert split.classes == ("deep sky", "sea")
    assert split.labels.tolist() == [[1, 1], [1, 1], [0, 1]]


def test_a_path_may_occur_twice(tmp_path: Path) -> None:
    split = table(tmp_path, "path,label\na.png,x\na.png,y\n").split("all")
    assert names(split) == ["a.png", "a.png"]
    assert split.labels.tolist() == [0, 1]


def test_a_missing_image_is_found_when_it_is_read(tmp_path: Path) -> None:
    split = table(tmp_path, "path,label\nabsent.png,cat\n").split("all")
    with pytest.raises(FileNotFoundError):
        split.read(0)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "no column 'path' and no column 'label'"),
        ("path,label\n", "has no rows"),
        ("path,label\n\n\n", "has no rows"),
        ("file,label\na,b\n", "line 1: there is no column 'path'"),
        ("path;label\na;b\n", "line 1: there is no column 'path' and no column 'label'"),
        ("path,label\na.png,cat\nb.png,\n", "line 3: the label is empty"),
        ("path,label\na.png,cat\nb.png\n", "line 3: the label is empty"),
        ("path,label\na.png,cat\n\n,dog\n", "line 4: the path is empty"),
        ("path,label\na.png,cat\n   \n", "line 3: the path is empty"),
        ('path,label\n"two\nlines",cat\n,dog\n', "line 4: the path is empty"),
        ("path,label\nmy,photo.png,cat\n", "line 2: .*more cells than columns"),
        ('path,label\na.png,"cat\n', "line 2: unexpected end of data"),
        ('path,label\na.png,cat\nb.png,"cat"x\n', "line 3: .* expected after"),
        ("path,label\na.png,cat\nb\0.png,cat\n", "line 3: .*NUL"),
        (b"path,label\na.png,cat\ncaf\xe9.png,cat\n", "line 3: 'utf-8' codec .*Save the table as UTF-8"),
        (b"\xef\xbb\xbfpath,label\ncaf\xe9.png,cat\n", "line 2: 'utf-8' codec"),
        ("path,label\na.png,cat\n".encode("utf-16"), "line 1: it is UTF-16"),
    ],
)
def test_what_is_wrong_in_a_table_is_said_with_its_line(tmp_path: Path, text: str | bytes, message: str) -> None:
    with pytest.raises(BadInput, match=f"(?s){message}") as refused:
        table(tmp_path, text)
    assert str(tmp_path / "labels.csv") in str(refused.value)
    assert refused.value.key == str(tmp_path / "labels.csv")


@pytest.mark.parametrize("what", ["absent.csv", ".", "x" * 300])
def test_a_table_that_is_not_there_is_not_found(tmp_path: Path, what: str) -> None:
    with pytest.raises(NotFound, match="no file"):
        load_dataset(f"csv:{tmp_path / what}")


def test_a_table_that_may_not_be_read_is_an_error_that_names_it(nobody: Path) -> None:
    table(nobody, "path,label\na,b\n")
    (nobody / "labels.csv").chmod(0)
    with Nobody(), pytest.raises(BadInput, match=r"labels\.csv.*Permission denied"):
        load_dataset(f"csv:{nobody / 'labels.csv'}")


def test_the_sources_of_a_table_are_the_images_and_itself(tmp_path: Path) -> None:
    put(tmp_path, "a.png", "b.png")
    text = "path,label,split\na.png,x,train\nb.png,y,test\n"
    sources = table(tmp_path, text).split("train").sources
    assert set(sources) == {tmp_path / "a.png", tmp_path / "labels.csv"}
    states = [fingerprint(sources)]
    (tmp_path / "a.png").write_bytes(b"changed")
    states.append(fingerprint(sources))
    (tmp_path / "a.png").unlink()
    states.append(fingerprint(sources))
    table(tmp_path, text.replace("y", "zz"))
    states.append(fingerprint(sources))
    assert len(set(states)) == 4


def test_the_mode_of_a_file_is_no_part_of_a_sample(tmp_path: Path) -> None:
    path = put(tmp_path, "cat/1.png") / "cat" / "1.png"
    path.chmod(stat.S_IRUSR)
    assert folder(tmp_path).split("all").read(0) == b"cat/1.png"


def test_a_table_names_the_split_of_every_row_or_of_none(tmp_path: Path) -> None:
    file = tmp_path / "t.csv"
    file.write_text("path,label,split\na.png,x,train\nb.png,y,\n")
    with pytest.raises(BadInput, match="line 3: the split is empty"):
        load_dataset(f"csv:{file}")
    file.write_text("path,label,split\na.png,x,\nb.png,y,\n")
    assert load_dataset(f"csv:{file}").splits == ["all"]
