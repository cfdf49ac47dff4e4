"""The options of `extract`, `add`, `probe` and `predict`: frozen models, one for each group that belongs together.

Python callers give keyword arguments, whose types are the `…Arguments` below; commands pass what was typed. `keywords`
makes the models from them.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, Self, TypedDict

from pydantic import BaseModel, BeforeValidator, ConfigDict, model_validator

from ..errors import BadInput
from .option_values import (
    BatchSize,
    Colour,
    DecodeIn,
    Decoder,
    Engine,
    Flag,
    Integer,
    Integers,
    Interpolation,
    Names,
    NotNegative,
    Numbers,
    Paths,
    Positive,
    Preprocess,
    RankOf,
    Share,
    Text,
    mapping,
)
from .ranks import Rank
from .specs import SCALED_JPEG, StoredDtype

UNIT_ROWS = 4096
PLAIN = "plain"
"""The protocol that prescribes nothing: the probe is what the options say."""

MOST_THREADS = 8
"""That read, and as many that decode, unless more are asked for."""


class _Options(BaseModel):
    # Built when it is first used: `extract` needs nothing of the options of `probe`.
    model_config = ConfigDict(defer_build=True, frozen=True, extra="forbid")


class PixelOptions(_Options):
    """How images become the encoder's input, where that is not to be as its library prescribes.

    Parameters
    ----------
    image_size : int or None
        Side of the input in pixels, instead of what the model prescribes.
    resize : int or None
        The shorter side of an image is brought to so many pixels …
    crop : int or None
        … and of the centre a square of so many is the input; by default of the size that the model prescribes.
    interpolation : {"bicubic", "bilinear", "lanczos", "nearest"} or None
        The filter of the resizing.
    background : str or None
        ``white``, ``black`` or ``#rrggbb``: what transparent pixels are laid on. By default the encoder's own
        conversion drops transparency, and shows whatever colours lie below it.
    fast_decode : bool or None
        Let large JPEGs be decoded at a half, a quarter or an eighth of their size, as long as that is no smaller than
        they are resized to.
    decoder : {"nvjpeg"} or None
        What decodes JPEGs instead of Pillow: nvJPEG, on the encoder's GPU.
    preprocess : str or None
        Whose preprocessing to take, of encoders that may have none of their own (``onnx:``, ``hf:``): the name of a
        model, such as ``timm:vit_small_patch14_dinov2``, or a ``preprocessor_config.json``.
    """

    image_size: Integer | None = None
    resize: Integer | None = None
    crop: Integer | None = None
    interpolation: Interpolation | None = None
    background: Colour | None = None
    fast_decode: Flag | None = None
    decoder: Decoder | None = None
    preprocess: Preprocess | None = None

    @model_validator(mode="after")
    def _one_meaning(self) -> Self:
        if self.crop is not None and self.image_size is not None:
            raise BadInput("--crop is the side of the input, as --image-size is.", hint="Give one of them.", key="crop")
        if self.crop is not None and self.resize is None:
            raise BadInput(
                "--crop goes with --resize.",
                hint=f"Give both; or for another input alone: --image-size {self.crop}",
                key="crop",
            )
        if self.resize is not None and self.side is not None and self.side > self.resize:
            raise BadInput(
                f"A square of {self.side} pixels cannot be cropped of images whose shorter side has {self.resize}.",
                hint="Give a --crop that is at most --resize.",
                key="crop",
            )
        if self.fast_decode and self.decoder is not None:
            raise BadInput(
                f"--fast-decode decodes by Pillow, and --decoder {self.decoder} does not.",
                hint="Give one of them.",
                key="decoder",
            )
        return self

    @property
    def side(self) -> int | None:
        """Side of the input, if it is given."""
        return self.crop if self.image_size is None else self.image_size

    @property
    def decoded_by(self) -> str | None:
        """How files are decoded, if not whole by Pillow: part of the preprocessing's identity."""
        return SCALED_JPEG if self.fast_decode else self.decoder

    @property
    def pixels(self) -> dict[str, Any]:
        """Those of these options that were given, by field."""
        given = {name: getattr(self, name) for name in PixelOptions.model_fields}
        return {name: value for name, value in given.items() if value is not None and value is not False}


class EncoderOptions(PixelOptions):
    """What fixes an encoder, beside its name.

    Parameters
    ----------
    taps : tuple of str
        Where to read the encoder; empty for its default tap.
    checkpoint : Path or None
        Weights to load; never unpickled.
    checkpoint_key : str or None
        What leads to them in that file, if several sets of weights fit.
    image_size, resize, crop, interpolation, background, fast_decode, decoder, preprocess
        See `PixelOptions`.
    precision : str
        Arithmetic of the forward pass.
    untrained, seed : bool, int
        Random weights, and their seed.
    """

    taps: Names = ()
    checkpoint: Path | None = None
    checkpoint_key: str | None = None
    precision: str = "fp32"
    untrained: Flag = False
    seed: NotNegative = 0


class ReadingOptions(_Options):
    """What is read of tables and tar files: it is part of the name of what is extracted.

    Parameters
    ----------
    class_names : Path or None
        A file of class names, which integer labels index: one a line, or JSON, a list or ``{"0": "cat", …}``.
    image_column, label_column : str or None
        Columns of a table, or extensions of the members of a sample in tar files, instead of those that are guessed.
    """

    class_names: Path | None = None
    image_column: str | None = None
    label_column: str | None = None

    @property
    def reading(self) -> dict[str, str | Path]:
        """Those of these options that were given, by field."""
        given = {name: getattr(self, name) for name in ReadingOptions.model_fields}
        return {name: value for name, value in given.items() if value is not None}


class SourceOptions(ReadingOptions):
    """How a data set that is named is read. Which kinds take which options, `datasets.kinds` says.

    Parameters
    ----------
    layout : {"class", "split"} or None
        What the top folders of ``folder:`` are. By default those are splits that are called so and hold folders.
    ignore : tuple of str
        Patterns of files and folders of ``folder:`` to leave out.
    unlabelled : bool
        Take all images of ``folder:`` or ``wds:``, without classes. No probe can be trained or scored on them.
    class_names, image_column, label_column
        See `ReadingOptions`.
    data_root, download : Path or None, bool
        Folder of torchvision's data sets, ``data`` in the cache folder by default; and whether torchvision may fetch
        what is missing.
    """

    layout: str | None = None
    ignore: Names = ()
    unlabelled: Flag = False
    data_root: Path | None = None
    download: Flag = False


class DatasetOptions(SourceOptions):
    """Which samples of a data set are meant, and how it is read.

    Parameters
    ----------
    splits : tuple of str
        Empty for all that the data set has.
    limit, limit_seed : int or None, int
        A seeded class-balanced subset of each split.
    as_name : str or None
        What the data set is called in the store, instead of its path or kind.
    layout, ignore, unlabelled, class_names, image_column, label_column, data_root, download
        See `SourceOptions`.
    """

    splits: Names = ()
    limit: Positive | None = None
    limit_seed: NotNegative = 0
    as_name: str | None = None


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
    batch_size : int, "auto" or None
        Images in one forward pass; `embedding.default_batch` by default. ``auto`` measures which is fastest.
    workers : int or None
        Threads that read, and as many that decode; one for each core by default, at most eight.
    device : str
        ``auto``, ``cpu``, ``cuda``, ``cuda:1`` … `extract` takes ``cuda:0,cuda:1`` too, and every GPU with ``auto``.
    max_bad : int
        Samples that may fail.
    max_pixels : int or None
        Images with more are refused, as are those that would have more when they are resized; `datasets.MAX_PIXELS`
        by default.
    """

    batch_size: BatchSize | None = None
    workers: Positive | None = None
    device: Text = "auto"
    max_bad: NotNegative = 0
    max_pixels: Positive | None = None

    @property
    def threads(self) -> int:
        """How many threads read, and as many decode: `workers`, or one for each core up to eight."""
        return self.workers or min(MOST_THREADS, os.cpu_count() or 1)

    @property
    def local(self) -> int | None:
        """Which of several processes on this machine this is, if there are several: it takes the GPU of that number."""
        return None


class ExtractRunOptions(RunOptions):
    """How `extract` runs.

    Parameters
    ----------
    unit_rows : int
        Rows in a unit of work, which is what a crash can cost.
    rehash : bool
        Read every file, whatever the sample index says.
    compile : bool
        Compile the encoder with torch. It takes a minute at the start; features differ within rounding, which is
        recorded with the set.
    profile : bool
        Say where the time went.
    decode_in : {"threads", "processes"} or None
        By default in processes for a GPU, if there are at least six `workers` and ten thousand images.
    rank : Rank, "auto" or None
        Which of several processes this is, such as ``3/8``, that do the same. By default what started it tells that;
        see `ranks`.
    """

    unit_rows: Positive = UNIT_ROWS
    rehash: Flag = False
    compile: Flag = False
    profile: Flag = False
    decode_in: DecodeIn | None = None
    rank: RankOf | None = None

    @property
    def local(self) -> int | None:
        """Which of several processes on this machine this is."""
        return self.rank.local if isinstance(self.rank, Rank) else None


class EngineOptions(_Options):
    """In which processes the work is done; nothing here changes a number that is stored.

    Parameters
    ----------
    engine : {"serial", "ray"}
        ``serial`` is this process. ``ray`` starts workers on a Ray cluster, which share the work through the store.
    address : str or None
        Of the cluster: ``HOST:PORT``, ``ray://HOST:PORT``, or ``auto`` for the one that this machine belongs to. By
        default ``$RAY_ADDRESS``; without that, a cluster of this machine alone, for as long as the call takes.
    worker_count : int or None
        Workers of `extract`, and trials at the same time of `probe`; by default as many as the cluster has room for.
    gpus_per_worker : float or None
        By default 1 for `extract` if the cluster has GPUs, else 0. Half a GPU lets two workers share one.
    cpus_per_worker : int or None
        How many threads a worker computes in, and reads and decodes in unless `workers` says. By default its share of
        the CPUs of a node with GPUs, else 1.
    stuck_seconds : int or None
        A worker without any progress for so long is ended and replaced; 900 by default. A trial of `probe` tells no
        progress: it may take so long in all, and by default for ever.
    """

    engine: Engine = "serial"
    address: str | None = None
    worker_count: Positive | None = None
    gpus_per_worker: Share | None = None
    cpus_per_worker: Positive | None = None
    stuck_seconds: Positive | None = None

    @model_validator(mode="after")
    def _of_an_engine(self) -> Self:
        for name in (self.model_fields_set & EngineOptions.model_fields.keys()) - {"engine"}:
            if self.engine == "serial" and getattr(self, name) != EngineOptions.model_fields[name].default:
                option = name.replace("_", "-")
                raise BadInput(
                    f"--{option} is for workers on a cluster, and the work is done in this process.",
                    hint="Give --engine ray too, or leave it out.",
                    key=option,
                )
        return self


class SetFilter(PixelOptions, ReadingOptions):
    """What tells the feature sets of one model and data set apart; see `extract`.

    Parameters
    ----------
    tap, image_size, resize, crop, interpolation, background, fast_decode, decoder, preprocess, precision, limit, \
    untrained, checkpoint, checkpoint_key, class_names, image_column, label_column
        What is not given means its default, or the only extraction that fits; random weights are taken only if asked
        for.
    model_version : str or None
        Of embeddings from elsewhere, as `add` was told. By default the newest that fit.
    data_root : Path or None
        Where a name such as ``torchvision:CIFAR10`` is looked up.
    """

    tap: str | None = None
    precision: str | None = None
    limit: Positive | None = None
    untrained: Flag = False
    checkpoint: Path | None = None
    checkpoint_key: str | None = None
    model_version: str | None = None
    data_root: Path | None = None

    @property
    def options(self) -> dict[str, str | int | bool | Path]:
        """What was given of these, by option of the command line; `data_root` does not tell sets apart."""
        given = {
            "tap": self.tap,
            **{name.replace("_", "-"): value for name, value in {**self.pixels, **self.reading}.items()},
            "precision": self.precision,
            "limit": self.limit,
            "untrained": self.untrained or None,
            "checkpoint": self.checkpoint,
            "checkpoint-key": self.checkpoint_key,
            "model-version": self.model_version,
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
    test: Text | None = None
    train_split: str | None = None
    test_split: Text | None = None
    val_split: Text | None = None


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
    params: Annotated[dict[str, Any], BeforeValidator(mapping)] | None = None
    C: Numbers = ()
    grid: Annotated[dict[str, Numbers], BeforeValidator(mapping)] | None = None
    choose_by: str | None = None
    shots: Integers = ()
    fractions: Numbers = ()
    seeds: Integer | None = None
    seed: NotNegative = 0


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
    rank : Rank, "auto" or None
        Which of several processes this is, such as ``3/8``, that run the same trials together; see `trials.sharing`.
        With ``auto``, as on the command line, what started it tells that.
    log_to : tuple of str
        Experiment trackers that are told the trials: ``mlflow[:URI]``, ``wandb[:PROJECT]``; see `log_trials`.
    """

    memory: Positive | None = None
    jobs: Positive | None = None
    save: Path | None = None
    rerun: Flag = False
    rank: RankOf | None = None
    log_to: Names = ()


class AddOptions(_Options):
    """What the files of `add` do not tell by themselves.

    Parameters
    ----------
    split : tuple of str
        Of each file. By default as the file says: by its arrays (``train_embeddings``), a column, or its own name
        (``train.npz``); else ``all``, of which `probe` holds a fifth out.
    model_version : str or None
        Any text; it changes when the model does. Files of one model and version belong together, whenever they are
        added. Without it, only files of one call do.
    labels : tuple of Path
        Labels of each ``.npy``: an ``.npy``, a ``.csv`` with a column ``label``, or a ``.txt`` with one a line.
    stored_dtype : {"float16", "float32"}
        In which embeddings of unit norm are kept; norms always in float32.
    """

    split: Names = ()
    model_version: str | None = None
    labels: Paths = ()
    stored_dtype: StoredDtype = "float16"


# The same options as keyword arguments of the public functions; tests/pipeline/test_options.py holds them together.


class PixelArguments(TypedDict, total=False):
    """Keyword arguments that become `PixelOptions`."""

    image_size: int | None
    resize: int | None
    crop: int | None
    interpolation: Literal["bicubic", "bilinear", "lanczos", "nearest"] | str | None
    background: str | None
    fast_decode: bool | None
    decoder: Literal["nvjpeg"] | str | None
    preprocess: str | Path | None


class RunArguments(TypedDict, total=False):
    """Keyword arguments that become `RunOptions`."""

    batch_size: int | str | None
    workers: int | None
    device: str | None
    max_bad: int
    max_pixels: int | None


class EngineArguments(TypedDict, total=False):
    """Keyword arguments that become `EngineOptions`."""

    engine: Literal["serial", "ray"] | str | None
    address: str | None
    worker_count: int | None
    gpus_per_worker: float | None
    cpus_per_worker: int | None
    stuck_seconds: int | None


class ReadingArguments(TypedDict, total=False):
    """Keyword arguments that become `ReadingOptions`."""

    class_names: str | Path | None
    image_column: str | None
    label_column: str | None


class SourceArguments(ReadingArguments, total=False):
    """Keyword arguments that become `SourceOptions`."""

    layout: Literal["class", "split"] | str | None
    ignore: Sequence[str] | str
    unlabelled: bool
    data_root: str | Path | None
    download: bool


class ExtractArguments(PixelArguments, RunArguments, SourceArguments, EngineArguments, total=False):
    """Keyword arguments that become `ExtractionOptions`, `ExtractRunOptions` and `EngineOptions`."""

    taps: Sequence[str] | str
    checkpoint: str | Path | None
    checkpoint_key: str | None
    precision: str | None
    untrained: bool
    seed: int
    splits: Sequence[str] | str
    limit: int | None
    limit_seed: int
    as_name: str | None
    stored_dtype: StoredDtype | None
    unit_rows: int | None
    rehash: bool | None
    compile: bool | None
    profile: bool | None
    decode_in: Literal["threads", "processes"] | str | None
    rank: Rank | str | None


class AddArguments(TypedDict, total=False):
    """Keyword arguments that become `AddOptions`."""

    split: Sequence[str] | str
    model_version: str | None
    labels: Sequence[str | Path] | str | Path
    stored_dtype: StoredDtype


class ProbeArguments(PixelArguments, ReadingArguments, EngineArguments, total=False):
    """Keyword arguments that become `SetOptions`, `ProbeOptions`, `TrialRunOptions` and `EngineOptions`."""

    model: str | None
    dataset: str | None
    train: str | None
    test: str | float | None
    train_split: str | None
    test_split: str | float | None
    val_split: str | float | None
    tap: str | None
    precision: str | None
    limit: int | None
    untrained: bool
    checkpoint: str | Path | None
    checkpoint_key: str | None
    model_version: str | None
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
    rank: Rank | str | None
    log_to: str | Sequence[str]
