"""Fields of what is read from files, with their bounds, and how the first problem with one is printed."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field, ValidationError, ValidatorFunctionWrapHandler

Count = Annotated[int, Field(strict=True, ge=0, le=2**53)]
"""A number of things, or a length or size, in what is read from a store: a whole number that floats hold exactly."""

LATEST = 253_402_214_400_000
Milliseconds = Annotated[int, Field(strict=True, ge=0, le=LATEST)]
"""A time since 1970 in what is read from a store, before the year 10000."""

Sha256 = Annotated[str, Field(pattern=r"\A[0-9a-f]{64}\z")]


def first_problem(e: ValidationError) -> str:
    """Return the first thing that a model found wrong, in a line."""
    first = e.errors(include_url=False, include_input=False)[0]
    return f"{'.'.join(map(str, first['loc']))[:200]}: {first['msg'][:200]}"


def lenient(value: Any, check: ValidatorFunctionWrapHandler) -> Any:
    """Return None for a value of another type: nothing is computed with it, and other writers record what they like."""
    try:
        return check(value)
    except ValidationError:
        return None
