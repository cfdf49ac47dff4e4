"""What was read of a table or of tar files, as it stands in the name of what was extracted."""

from __future__ import annotations

from ...canonical import digest
from ..options import ReadingOptions


def reading_in_name(asked: ReadingOptions) -> dict[str, str]:
    """Return the fields of a name that tell which columns were read, and which class names were given.

    Of class names their content counts, not where or in which form the file keeps them.

    Raises
    ------
    NotFound, BadInput
        If the file of class names is not there, or holds something else.

    Examples
    --------
    >>> reading_in_name(ReadingOptions(label_column="fine_label"))
    {'label_column': 'fine_label'}
    """
    fields = {name: str(value) for name, value in asked.reading.items()}
    if asked.class_names is None:
        return fields
    from .containers.named_labels import class_names  # imports what decodes images, which `probe` does without

    return {**fields, "class_names": digest(list(class_names(asked.class_names) or ()))}
