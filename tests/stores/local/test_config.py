"""Stores by the names that configuration files give them."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from cryoprobe.errors import BadInput, NotFound
from cryoprobe.folders import config_file
from cryoprobe.stores.backends.locations import layers_at
from cryoprobe.stores.local.config import ConfiguredStore, cache_size, deciding_file, is_trusted, known_as, known_stores
from cryoprobe.stores.moving.transfer import push
from cryoprobe.stores.opening import open_store


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a working directory."""
    folder = tmp_path / "project" / "notebooks"
    folder.mkdir(parents=True)
    monkeypatch.chdir(folder)
    return folder


def write_config(text: str) -> Path:
    file = config_file()
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)
    return file


def test_the_users_file_is_where_xdg_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert config_file() == Path(os.environ["XDG_CONFIG_HOME"]) / "cryoprobe" / "config.toml"
    monkeypatch.delenv("XDG_CONFIG_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert config_file() == tmp_path / ".config" / "cryoprobe" / "config.toml"


@pytest.mark.usefixtures("project")
def test_without_any_file_everything_is_a_path_or_a_url() -> None:
    assert known_stores() == {}
    for text in ("features", "a/b", "s3://bucket/x", "./features", "~/features", ""):
        assert known_as(text).place == known_as(text, create=True).place == text


def test_names_of_both_files_are_known_and_the_projects_go_first(project: Path) -> None:
    write_config('[stores]\nteam = "s3://bucket/team"\nmine = "~/features"\n')
    (project.parent / "cryoprobe.toml").write_text(
        '[stores]\nteam = "../shared"\nweb = "https://host/x"\n[other]\na=1\n'
    )
    assert known_stores() == {
        "team": ConfiguredStore(str(project.parent / "../shared")),
        "mine": ConfiguredStore(str(Path.home() / "features")),
        "web": ConfiguredStore("https://host/x"),
    }
    assert known_as("web").place == "https://host/x"
    (project / "cryoprobe.toml").write_text("")  # the nearest file is the project's
    assert known_as("team").place == "s3://bucket/team"


def test_a_dry_run_refuses_the_mistyped_name_that_the_real_one_would(project: Path) -> None:
    write_config('[stores]\nteam = "/features"\n')
    store = open_store(project / "mine", create=True)
    for dry_run in (True, False):
        with pytest.raises(NotFound, match="no store called 'taem'"):
            push(store, "taem", dry_run=dry_run)
    assert push(store, "./taem", dry_run=True).sets == ()
    assert not (project / "taem").exists()


def test_a_table_with_a_mistyped_name_is_not_overlooked(project: Path) -> None:
    write_config('[stors]\nteam = "s3://bucket/team"\n')
    with pytest.raises(BadInput, match=r"Did you mean \[stores\]"):
        known_stores()


def test_a_store_that_is_no_place_is_named(project: Path) -> None:
    write_config('[stores]\nteam = "s3://bucket/team"\nmine = {store = "x", frm = ["team"]}\n')
    with pytest.raises(BadInput, match=r"\[stores.mine\]"):
        known_stores()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('[stores]\nmine = {store = "x", form = ["team"]}', "[stores.mine] in FILE has no field 'form'"),
        ('[stores]\nmine = {store = "x", form = ["team"]}', "Did you mean 'from'?"),
        ('[trust]\nform = ["x"]', "Did you mean 'from'?"),
        ("[cache]\nsizes = 1", "Did you mean 'size'?"),
        ("[cache]\nfolder = '/x'", "Its fields are size."),
    ],
)
def test_a_field_that_is_not_known_is_named_with_the_nearest_one(project: Path, text: str, said: str) -> None:
    file = write_config(text)
    with pytest.raises(BadInput) as caught:
        known_stores()
    assert said.replace("FILE", str(file)) in str(caught.value)


@pytest.mark.parametrize("create", [False, True])
def test_a_name_that_is_not_known_is_answered_with_those_that_are(project: Path, create: bool) -> None:
    write_config('[stores]\nteam = "s3://bucket/team"\nmine = "/features"\n')
    with pytest.raises(NotFound, match="known are mine, team") as caught:
        open_store("taem", create=create)
    assert ("./taem" in str(caught.value)) == create
    assert not list(project.iterdir())
    for text in ("./taem", "a/team"):
        assert known_as(text, create=create).place == text


def test_a_folder_goes_by_its_name_unless_a_store_is_called_so(project: Path) -> None:
    write_config(f'[stores]\nteam = "{project}/elsewhere"\n')
    for name in ("features", "team"):
        open_store(project / name, create=True)
    assert open_store("features").url == str(project / "features")
    assert open_store("./team").url == str(project / "team")
    assert open_store(Path("team")).url == str(project / "team")
    assert open_store("team", create=True).url == str(project / "elsewhere")


@pytest.mark.parametrize(
    "text",
    ["[stores", "stores = 1", "[stores]\nteam = 1", '[stores]\nteam = ""', "stores = []", "\0", "[stores.team]"]
    + [f"[stores]\nteam = {table}" for table in ("{from=['a']}", "{store='a', from='b'}", "{store='a', form=[]}")]
    + ["[stores]\nteam = {store = 'a', from = [1]}", "[stores]\nteam = {store = 'a', from = ['']}"],
)
def test_a_file_that_cannot_be_used_is_named(project: Path, text: str) -> None:
    file = project / "cryoprobe.toml"
    file.write_text(text)
    with pytest.raises(BadInput) as caught:
        known_as("team")
    assert str(file) in str(caught.value)
    assert known_as("./team").place == "./team"


def test_a_working_directory_that_is_gone_has_no_project(project: Path) -> None:
    project.rmdir()
    assert known_stores() == {}


def test_a_password_in_a_file_is_refused_and_not_repeated(project: Path) -> None:
    (project / "cryoprobe.toml").write_text('[stores]\nteam = "s3://key:secret@bucket/x"\n')
    with pytest.raises(BadInput, match="more than its place") as caught:
        open_store("team")
    assert "secret" not in str(caught.value)


def test_a_name_can_stand_for_a_store_and_those_that_are_read_too(project: Path) -> None:
    write_config('[stores]\nteam = {store = "s3://bucket/team", from = ["web"]}\nweb = "https://host/x"\n')
    text = '[stores]\nmine = {store = "own", from = ["team", "../old", "own", "web"]}\n'
    (project / "cryoprobe.toml").write_text(text)
    own, old = str(project / "own"), str(project / "../old")
    assert known_as("mine") == ConfiguredStore(own, ("team", old, own, "web"))
    # Each once, and a store that is read brings its own sources.
    assert layers_at("mine") == [own, "s3://bucket/team", "https://host/x", old]
    assert layers_at("mine", ["/first"]) == [own, "/first", "s3://bucket/team", "https://host/x", old]
    assert layers_at(project / "x", ["web"]) == [project / "x", "https://host/x"]


def test_stores_that_read_from_each_other_are_each_read_once(project: Path) -> None:
    text = '[stores]\na = {store = "s3://b/a", from = ["b"]}\nb = {store = "s3://b/b", from = ["a", "b"]}\n'
    (project / "cryoprobe.toml").write_text(text)
    assert layers_at("a") == ["s3://b/a", "s3://b/b"]
    assert layers_at("b") == ["s3://b/b", "s3://b/a"]


def test_the_size_of_the_cache_is_what_the_environment_says_then_the_project_then_the_user(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert cache_size() is None
    write_config('[cache]\nsize = "2GiB"\n')
    assert cache_size() == 2 * 2**30
    (project / "cryoprobe.toml").write_text("[cache]\nsize = 0\n")
    assert cache_size() == 0
    monkeypatch.setenv("CRYOPROBE_CACHE_SIZE", "1k")
    assert cache_size() == 1024
    monkeypatch.setenv("CRYOPROBE_CACHE_SIZE", "much")
    with pytest.raises(BadInput, match="'much' is not an amount for CRYOPROBE_CACHE_SIZE"):
        cache_size()


@pytest.mark.parametrize("text", ["cache = 1", '[cache]\nsize = "-1"', "[cache]\nsize = []", "[cache]\nfolder = '/x'"])
def test_a_cache_that_is_not_described_as_it_should_is_named(project: Path, text: str) -> None:
    file = project / "cryoprobe.toml"
    file.write_text(text)
    with pytest.raises(BadInput) as caught:
        cache_size()
    assert str(file) in str(caught.value)


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="only root can give a file away")
@pytest.mark.parametrize("as_link", [False, True])
def test_c1_planted_config_of_another_user_is_refused(project: Path, tmp_path: Path, as_link: bool) -> None:
    write_config(f'[stores]\nteam = "{tmp_path}/team"\n')
    planted = project.parent / "cryoprobe.toml"
    text = f'[stores]\nteam = "{tmp_path}/evil"\n'
    if as_link:
        (tmp_path / "target.toml").write_text(text)
        planted.symlink_to(tmp_path / "target.toml")
    else:
        planted.write_text(text)
    os.chown(planted, 12345, 12345, follow_symlinks=False)
    for refused in (lambda: known_as("team"), lambda: is_trusted("/x"), cache_size, lambda: open_store("team")):
        with pytest.raises(BadInput, match="belongs to another user") as caught:
            refused()
        assert str(planted) in str(caught.value)
    write_config(f'[trust]\nconfigs = ["{planted}"]\n')
    assert known_as("team").place == f"{tmp_path}/evil"
    assert deciding_file("team") == planted


def test_stores_of_a_configuration_file_are_trusted_and_others_are_not(project: Path, tmp_path: Path) -> None:
    web = "https://host/x"
    write_config(
        f"""
        [stores]
        team = "s3://bucket/team/"
        mine = {{store = "~/features", from = ["team", "{web}"]}}
        public = "https://host/public"
        [trust]
        from = ["{tmp_path}/archives", "gs://bucket/a"]
        not = ["public"]
        """
    )
    (tmp_path / "link").symlink_to(tmp_path / "archives")
    trusted = ["team", "s3://bucket/team", "mine", "~/features", web, f"{tmp_path}/archives/a.zip", "gs://bucket/a/b"]
    for place in [*trusted, Path(tmp_path / "link" / "a.zip"), "GS://bucket/a"]:
        assert is_trusted(place), place
    for place in ["public", "https://host/public", "https://host", f"{tmp_path}/archives2/a.zip", "s3://bucket/team2"]:
        assert not is_trusted(place), place
    assert not is_trusted(project / "team")
    write_config('[trust]\nfrom = "team"\n')
    with pytest.raises(BadInput, match=r"\[trust\]"):
        is_trusted("x")
