"""Writing to a store: units and sets are written, claimed, fenced and sealed; which rows there are already."""
