"""`report`: the results of a store as one HTML page."""

from __future__ import annotations

import datetime
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from pydantic import BaseModel, ConfigDict
from typing_extensions import TypedDict, Unpack
