"""Options: one model for the command line and for Python, and one message for what is wrong."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Any, get_type_hints

import click
import numpy as np
import pytest
import torch
import typer.main
from pydantic import BaseModel

import cryoprobe
from cryoprobe.cli import app
from cryoprobe.errors import BadInput
from cryoprobe.pipeline.keywords import read
from cryoprobe.pipeline.options import (
    AddArguments,
    AddOptions,
    DatasetOptions,
    EncoderOptions,
    EngineOptions,
    ExtractArguments,
    ExtractionOptions,
    ExtractRunOptions,
    ProbeArguments,
    ProbeOptions,
    RunArguments,
    RunOptions,
    SetFilter,
    SetOptions,
    TrialRunOptions,
)

GROUPS: list[tuple[Callable[..., Any], type, tuple[type[BaseModel], ...]]] = [
    (cryoprobe.extract, ExtractArguments, (ExtractionOptions, ExtractRunOptions, EngineOptions)),
    (cryoprobe.probe, ProbeArguments, (SetOptions, ProbeOptions, TrialRunOptions, EngineOptions)),
    (cryoprobe.predict, RunArguments, (RunOptions,)),
    (cryoprobe.add, AddArguments, (AddOptions,)),
]
ON_THE_COMMAND_LINE = {
    "splits": "split",
    "taps": "tap",
    "params": "param",
    "fractions": "fraction",
    "as_name": "as",
}
"""What is called in the singular there, since it is repeated or has commas; and `as`, which is a word of Python's."""


@pytest.mark.parametrize(("function", "arguments", "models"), GROUPS)
def test_keyword_arguments_and_models_have_the_same_fields(
    function: Callable[..., Any], arguments: type, models: tuple[type[BaseModel], ...]
) -> None:
    fields = [name for model in models for name in model.model_fields]
    assert len(fields) == len(set(fields))
    assert set(get_type_hints(arguments)) == set(fields)
    shown = inspect.signature(function).parameters
    for model in models:
        for name, field in model.model_fields.items():
            assert shown[name].default == field.default
    assert not [p for p in shown.values() if p.kind is p.VAR_KEYWORD]


@pytest.mark.parametrize(("function", "arguments", "models"), GROUPS)
def test_the_command_line_has_every_option(
    function: Callable[..., Any], arguments: type, models: tuple[type[BaseModel], ...]
) -> None:
    group = typer.main.get_command(app)
    assert isinstance(group, click.Group) or hasattr(group, "commands")
    command = group.commands[function.__name__]  # type: ignore[attr-defined]
    flags = {flag for parameter in command.params for flag in parameter.opts}
    for name in get_type_hints(arguments):
        assert f"--{ON_THE_COMMAND_LINE.get(name, name).replace('_', '-')}" in flags, name


@pytest.mark.parametrize("models", [(EncoderOptions, DatasetOptions, RunOptions), (SetFilter, ProbeOptions)])
def test_options_are_frozen_and_know_no_others(models: tuple[type[BaseModel], ...]) -> None:
    for model in models:
        made = model()
        with pytest.raises(ValueError, match="frozen"):
            setattr(made, next(iter(model.model_fields)), None)
        with pytest.raises(ValueError, match="nonsense"):
            model.model_validate({"nonsense": 1})


@pytest.mark.parametrize(
    ("model", "options", "message"),
    [
        (DatasetOptions, {"limit": 0}, "--limit must be 1 or more, and below 2^53, not 0."),
        (DatasetOptions, {"limit": 2**53}, "--limit must be below 2^53, not 9007199254740992."),
        (DatasetOptions, {"limit": "ten"}, "--limit must be a whole number, not 'ten'."),
        (DatasetOptions, {"limit": True}, "--limit must be a whole number, not True."),
        (SetFilter, {"limit": "3"}, "--limit must be a whole number, not '3'."),
        (SetFilter, {"untrained": "no"}, "--untrained must be True or False, not 'no'."),
        (TrialRunOptions, {"rerun": 1}, "--rerun must be True or False, not 1."),
        (TrialRunOptions, {"save": 3}, "--save must be a path, not 3."),
        (EncoderOptions, {"image_size": 224.5}, "--image-size must be a whole number, not 224.5."),
        (EncoderOptions, {"taps": 3}, "--tap must be text, not 3."),
        (ExtractionOptions, {"stored_dtype": "int8"}, "Embeddings are stored as float16 or float32, not int8."),
        (RunOptions, {"workers": -1}, "--workers must be 1 or more, and below 2^53, not -1."),
        (TrialRunOptions, {"memory": 0}, "--memory must be 1 or more, and below 2^53, not 0."),
        (ProbeOptions, {"seed": -1}, "--seed must be 0 or more, and below 2^53, not -1."),
        (ProbeOptions, {"seeds": True}, "--seeds must be a whole number, not True."),
        (ProbeOptions, {"shots": ["2"]}, "--shots must be a whole number, not ['2']."),
        (ProbeOptions, {"shots": 2.5}, "--shots must be a whole number, not 2.5."),
        (ProbeOptions, {"C": "1"}, "--C must be a number, or several, not '1'."),
        (ProbeOptions, {"C": [[1.0, 2.0]]}, "--C must be a number, or several, not [[1.0, 2.0]]."),
        (ProbeOptions, {"fractions": [True]}, "--fraction must be a number, or several, not [True]."),
        (ProbeOptions, {"params": {1: 2}}, "--param must be a mapping from names, not {1: 2}."),
    ],
)
def test_a_wrong_value_is_stated_in_one_message(model: type[BaseModel], options: dict[str, Any], message: str) -> None:
    with pytest.raises(BadInput) as caught:
        read(model, options)
    assert caught.value.message == message
    if message.startswith("--"):
        assert caught.value.key == message[2:].split()[0]


def test_one_value_or_several_numpy_s_numbers_and_paths_are_taken() -> None:
    given = {
        "splits": "test",
        "taps": ["cls", "pooled"],
        "limit": np.int64(5),
        "checkpoint": "w",
        "untrained": np.True_,
    }
    asked = read(ExtractionOptions, given)
    assert (asked.splits, asked.taps, asked.limit) == (("test",), ("cls", "pooled"), 5)
    assert type(asked.limit) is int
    assert asked.untrained is True
    assert asked.checkpoint == Path("w")
    probe = read(ProbeOptions, {"C": np.array([1.0, 10.0]), "shots": [np.int64(4), 8], "grid": {"alpha": 0.5}})
    assert (probe.C, probe.shots, probe.grid) == ((1.0, 10.0), (4, 8), {"alpha": (0.5,)})
    assert [type(value) for value in (*probe.C, *probe.shots)] == [float, float, int, int]


def test_a_tenth_is_a_tenth_in_any_precision_and_a_whole_number_stays_one() -> None:
    for tenth in (0.1, np.float32(0.1), np.array([0.1], np.float32), {0.1}, (v for v in [0.1])):
        assert read(ProbeOptions, {"fractions": tenth}).fractions == (0.1,)
    assert [type(c) for c in read(ProbeOptions, {"C": [1, 1.0]}).C] == [int, float]
    assert read(TrialRunOptions, {"memory": 1e9}).memory == 1_000_000_000


def test_fractions_devices_and_none_are_taken_as_people_give_them() -> None:
    sets = read(SetOptions, {"test_split": 0.2, "val_split": 0.1, "test": None})
    assert (sets.test_split, sets.val_split, sets.test) == ("0.2", "0.1", None)
    assert read(RunOptions, {"device": torch.device("cuda", 1)}).device == "cuda:1"
    assert read(ProbeOptions, {"shots": None, "C": None, "params": None}) == ProbeOptions()
    assert read(DatasetOptions, {"splits": None, "download": None}) == DatasetOptions()


@pytest.mark.parametrize(
    ("call", "nearest"),
    [
        (lambda: cryoprobe.probe("s", modle="m"), "model"),
        (lambda: cryoprobe.extract("m", "d", "s", split="train"), "splits"),
        (lambda: cryoprobe.predict("p", "i", batchsize=2), "batch_size"),
    ],
)
def test_an_unknown_keyword_is_refused_with_the_nearest(call: Callable[[], Any], nearest: str) -> None:
    with pytest.raises(TypeError, match=f"unexpected keyword argument .* Did you mean '{nearest}'"):
        call()
