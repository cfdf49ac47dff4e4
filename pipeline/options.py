"""The options of `extract`, `probe` and `predict`: frozen models, one for each group of options that belong together.

Python callers give keyword arguments, whose types are the `…Arguments` below; commands pass what was typed. `read`
makes the models from them, and states a wrong value in one message.
"""

from __future__ import annotations

import difflib
import inspect
import numbers
import operator
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, TypedDict, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError
from pydantic_core import PydanticCustomError

from ..errors import BadInput
from .specs import StoredDtype

UNIT_ROWS = 4096
PLAIN = "plain"
"""The protocol that prescribes nothing: the probe is what the options say."""

_LARGEST = 2**53
"""Larger whole numbers are not exact in JSON."""

Called = TypeVar("Called", bound=Callable[..., Any])
Model = TypeVar("Model", bound=BaseModel)


def several(values: Any) -> tuple[Any, ...]:
    """Return one value as a tuple of one, and several as a tuple.

    Examples
    --------
    >>> several(1.0), several([1, 2]), several("cls")
    ((1.0,), (1, 2), ('cls',))
    """
    if getattr(values, "ndim", 1) == 0 or isinstance(values, str | bytes | Mapping) or not isinstance(values, Iterable):
        return (values,)
    return tuple(values)


def _refuse(wanted: str) -> PydanticCustomError:
    return PydanticCustomError("option", "{wanted}", {"wanted": wanted})


def _whole(value: Any) -> Any:
    """Return any kind of integer, also numpy's and 1e9, as Python's; booleans are none."""
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, bool) or type(value).__name__ == "bool":
        raise _refuse("a whole number")
    try:
        return operator.index(value)
    except TypeError:
        raise _refuse("a whole number") from None


def _number(value: Any) -> Any:
    """Return any kind of number as Python's: numpy's float32 of 0.1 is 0.1."""
    if isinstance(value, bool) or not isinstance(value, numbers.Real):
        raise _refuse("a number, or several")
    return value if isinstance(value, int) else float(str(value)) if hasattr(value, "dtype") else float(value)


def _flag(value: Any) -> Any:
    """Return True or False, also numpy's; texts and numbers are neither."""
    if type(value).__name__ not in ("bool", "bool_"):
        raise _refuse("True or False")
    return bool(value)


def _text(value: Any) -> Any:
    """Return a fraction as text, as it is typed; a device of torch's as its name."""
    return str(value) if isinstance(value, float) or type(value).__name__ == "device" else value


def _mapping(value: Any) -> Any:
    if not isinstance(value, Mapping) or not all(isinstance(name, str) for name in value):
        raise _refuse("a mapping from names")
    return dict(value)


_Integer = Annotated[int, BeforeValidator(_whole)]
_NotNegative = Annotated[int, BeforeValidator(_whole), Field(ge=0, lt=_LARGEST)]
_Positive = Annotated[int, BeforeValidator(_whole), Field(ge=1, lt=_LARGEST)]
_Flag = Annotated[bool, BeforeValidator(_flag)]
_Text = Annotated[str, BeforeValidator(_text)]
_Names = Annotated[tuple[str, ...], BeforeValidator(several)]
_Numbers = Annotated[tuple[Annotated[Any, BeforeValidator(_number)], ...], BeforeValidator(several)]
_Integers = Annotated[tuple[_Integer, ...], BeforeValidator(several)]


class _Options(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class EncoderOptions(_Options):
    """What fixes an encoder, beside its name.

    Parameters
    ----------
    taps : tuple of str
        Where to read the encoder; empty for its default tap.
    checkpoint : Path or None
        Weights to load; never unpickled.
    image_size : int or None
        Side of the input in pixels, instead of what the model prescribes.
    precision : str
        Arithmetic of the forward pass.
    untrained, seed : bool, int
        Random weights, and their seed.
    """

    taps: _Names = ()
    checkpoint: Path | None = None
    image_size: _Integer | None = None
    precision: str = "fp32"
    untrained: _Flag = False
    seed: _NotNegative = 0


class DatasetOptions(_Options):
    """Which samples of a data set are meant, and where they are.

    Parameters
    ----------
    splits : tuple of str
        Empty for all that the data set has.
    limit, limit_seed : int or None, int
        A seeded class-balanced subset of each split.
    layout : {"class", "split"} or None
        What the top folders of ``folder:PATH`` are; see `load_dataset`.
    ignore : tuple of str
        Patterns of files and folders of ``folder:PATH`` to leave out.
    data_root, download : Path or None, bool
        Of torchvision's data sets.
    """

    splits: _Names = ()
    limit: _Positive | None = None
    limit_seed: _NotNegative = 0
    layout: str | None = None
    ignore: _Names = ()
    data_root: Path | None = None
    download: _Flag = False


class ExtractionOptions(EncoderOptions, DatasetOptions):
    """What becomes part of the identity of a feature set.

    Parameters
    ----------
    stored_dtype : {"float16", "float32"}
    """

    stored_dtype: StoredDtype = "float16"


class RunOptions(_Options):
    """How to run; nothing here changes a number that is stored.

    Parameters
    ----------
    batch_size : int or None
        Images in one forward pass; `embedding.default_batch` by default.
    workers : int or None
        Threads that read and decode; at most eight by default.
    device : str
        ``auto``, ``cpu``, ``cuda``, ``cuda:1`` …
    max_bad : int
        Samples that may fail.
    """

    batch_size: _Positive | None = None
    workers: _Positive | None = None
    device: _Text = "auto"
    max_bad: _NotNegative = 0


class ExtractRunOptions(RunOptions):
    """How `extract` runs.

    Parameters
    ----------
    unit_rows : int
        Rows in a unit of work, which is what a crash can cost.
    rehash : bool
        Read every file, whatever the sample index says.
    """

    unit_rows: _Positive = UNIT_ROWS
    rehash: _Flag = False


class SetFilter(_Options):
    """What tells the feature sets of one model and data set apart; see `extract`.

    Parameters
    ----------
    tap, image_size, limit, untrained, checkpoint
        What is not given means its default, or the only extraction that fits; random weights are taken only if asked
        for.
    data_root : Path or None
        Where a name such as ``torchvision:CIFAR10`` is looked up.
    """

    tap: str | None = None
    image_size: _Integer | None = None
    limit: _Positive | None = None
    untrained: _Flag = False
    checkpoint: Path | None = None
    data_root: Path | None = None

    @property
    def options(self) -> dict[str, Any]:
        """What was given of these, by option of the command line; `data_root` does not tell sets apart."""
        given = {
            "tap": self.tap,
            "image-size": self.image_size,
            "limit": self.limit,
            "untrained": self.untrained or None,
            "checkpoint": self.checkpoint,
        }
        return {option: value for option, value in given.items() if value is not None}


class SetOptions(SetFilter):
    """On which feature sets to probe.

    Parameters
    ----------
    model, dataset : str or None
        Names as given to `extract`; which sets they mean, `trials.meaning` says.
    train, test : str or None
        Or set ids. Instead of a test set: a fraction to hold out of train, a fifth by default.
    train_split, test_split : str or None
        ``train`` and ``test`` by default; for a data set without splits ``all``, of which a stratified fifth is held
        out. `test_split` may be a fraction, to be held out of train.
    val_split : str or None
        What chooses: a split, or a stratified fraction of train. By default what the protocol prescribes; else the
        data set's validation split if the store has it, or a tenth of train.
    """

    model: str | None = None
    dataset: str | None = None
    train: str | None = None
    test: _Text | None = None
    train_split: str | None = None
    test_split: _Text | None = None
    val_split: _Text | None = None


class ProbeOptions(_Options):
    """What to fit, and on how many draws of how many rows.

    Parameters
    ----------
    protocol : str
        What a paper prescribes (`list_protocols`), or ``plain``: the probe that the next parameters describe.
    probe : str or None
        ``logreg`` (the default), ``knn`` … (`list_probes`), or the dotted path of a scikit-learn classifier.
    params : dict
        Parameters of the estimator, or of the protocol.
    C : tuple of float
        One value, or several to choose from; the probe's default grid by default.
    grid : dict
        The same for a parameter of another name: ``{"alpha": [0.1, 1, 10]}``.
    choose_by : {"nll", "top1"} or None
        The validation score that chooses: mean negative log-likelihood (the default), or top-1 (of ``knn``).
    shots, fractions : tuple
        Sizes of training sets to draw: rows of every class, or shares of the rows.
    seeds : int or None
        Draws of each size, from `seed` on; `sweep.DRAWS` where rows are drawn, or what the protocol prescribes. Without
        sizes: repetitions with other hold-outs and another ``random_state``.
    seed : int
        Draws the hold-outs, and is the estimator's ``random_state``.
    """

    protocol: str = PLAIN
    probe: str | None = None
    params: Annotated[dict[str, Any], BeforeValidator(_mapping)] | None = None
    C: _Numbers = ()
    grid: Annotated[dict[str, _Numbers], BeforeValidator(_mapping)] | None = None
    choose_by: str | None = None
    shots: _Integers = ()
    fractions: _Numbers = ()
    seeds: _Integer | None = None
    seed: _NotNegative = 0


class TrialRunOptions(_Options):
    """How `probe` runs its trials.

    Parameters
    ----------
    memory : int or None
        Bytes that this process may take. Where features do not fit, they are read from the store for every pass
        (logistic regression only); the solution is the same.
    jobs : int or None
        Processes for many trials; see `trials.pool`.
    save : Path or None
        Where to write the trained probe (one trial only); it is fitted again if the store has only its result.
    rerun : bool
        Run the trials even if the store has their results, which are replaced.
    """

    memory: _Positive | None = None
    jobs: _Positive | None = None
    save: Path | None = None
    rerun: _Flag = False


# The same options as keyword arguments of the public functions; tests/pipeline/test_options.py holds them together.


class RunArguments(TypedDict, total=False):
    """Keyword arguments that become `RunOptions`."""

    batch_size: int | None
    workers: int | None
    device: str
    max_bad: int


class ExtractArguments(RunArguments, total=False):
    """Keyword arguments that become `ExtractionOptions` and `ExtractRunOptions`."""

    taps: Sequence[str] | str
    checkpoint: str | Path | None
    image_size: int | None
    precision: str
    untrained: bool
    seed: int
    splits: Sequence[str] | str
    limit: int | None
    limit_seed: int
    layout: Literal["class", "split"] | str | None
    ignore: Sequence[str] | str
    data_root: str | Path | None
    download: bool
    stored_dtype: StoredDtype
    unit_rows: int
    rehash: bool


class ProbeArguments(TypedDict, total=False):
    """Keyword arguments that become `SetOptions`, `ProbeOptions` and `TrialRunOptions`."""

    model: str | None
    dataset: str | None
    train: str | None
    test: str | float | None
    train_split: str | None
    test_split: str | float | None
    val_split: str | float | None
    tap: str | None
    image_size: int | None
    limit: int | None
    untrained: bool
    checkpoint: str | Path | None
    data_root: str | Path | None
    protocol: str
    probe: str | None
    params: Mapping[str, Any] | None
    C: float | Sequence[float]
    grid: Mapping[str, Sequence[float]] | None
    choose_by: str | None
    shots: int | Sequence[int]
    fractions: float | Sequence[float]
    seeds: int | None
    seed: int
    memory: int | None
    jobs: int | None
    save: str | Path | None
    rerun: bool


def takes(arguments: Any, *models: type[BaseModel]) -> Callable[[Called], Called]:
    """Show the fields of `models` in the signature of a function, instead of the ``**options`` that become them.

    Parameters
    ----------
    arguments : TypedDict
        The types of the keyword arguments, in their order.
    *models
        Their defaults.
    """
    types = {name: getattr(of, "__forward_arg__", of) for name, of in arguments.__annotations__.items()}

    def shown(function: Called) -> Called:
        signature = inspect.signature(function)
        fixed = [p for p in signature.parameters.values() if p.kind is not p.VAR_KEYWORD]
        fields = _fields(models)
        named = [
            inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=fields[name].default, annotation=type_)
            for name, type_ in types.items()
        ]
        at = next((i for i, p in enumerate(fixed) if p.kind is p.KEYWORD_ONLY), len(fixed))
        parameters = [*fixed[:at], *named, *fixed[at:]]
        function.__signature__ = signature.replace(parameters=parameters)  # type: ignore[attr-defined]
        return function

    return shown


def check_names(function: str, options: Mapping[str, Any], *models: type[BaseModel]) -> None:
    """Refuse keyword arguments that no model has, as Python does.

    Raises
    ------
    TypeError
    """
    for name in options:
        if name not in (known := _fields(models)):
            close = difflib.get_close_matches(name, known, n=1)
            better = f". Did you mean {close[0]!r}?" if close else ""
            raise TypeError(f"{function}() got an unexpected keyword argument {name!r}{better}")


def read(model: type[Model], options: Mapping[str, Any]) -> Model:
    """Make a model of those keyword arguments that it has.

    None stands for the default.

    Raises
    ------
    BadInput
        If a value is wrong.

    Examples
    --------
    >>> read(DatasetOptions, {"splits": "test", "limit": 100, "device": "cpu"}).splits
    ('test',)
    >>> read(DatasetOptions, {"limit": 0})
    Traceback (most recent call last):
        ...
    cryoprobe.errors.BadInput: --limit must be 1 or more, and below 2^53, not 0.
    """
    given = {name: options[name] for name in model.model_fields if options.get(name) is not None}
    try:
        return model.model_validate(given)
    except ValidationError as e:
        raise _stated(e, given) from None


def _stated(error: ValidationError, given: Mapping[str, Any]) -> BadInput:
    """State the first thing that is wrong."""
    first = error.errors(include_url=False)[0]
    option = str(first["loc"][0])
    name, found = _ON_THE_COMMAND_LINE.get(option, option).replace("_", "-"), first["input"]
    if name == "stored-dtype":
        return BadInput(f"Embeddings are stored as float16 or float32, not {found}.", key=name, found=found)
    bounds = first.get("ctx", {})
    wanted = {
        "greater_than_equal": f"{bounds.get('ge')} or more, and below 2^53",
        "less_than": "below 2^53",
        "string_type": "text",
        "path_type": "a path",
        "option": first["msg"],
    }.get(first["type"], first["msg"])
    shown = found if type(found) is int and len(first["loc"]) == 1 else repr(given[option])
    return BadInput(f"--{name} must be {wanted}, not {shown}.", key=name, found=found)


_ON_THE_COMMAND_LINE = {"splits": "split", "taps": "tap", "params": "param", "fractions": "fraction"}
"""Options that have another name there, where they are repeated or take commas."""


def _fields(models: Sequence[type[BaseModel]]) -> dict[str, Any]:
    return {name: field for model in models for name, field in model.model_fields.items()}
