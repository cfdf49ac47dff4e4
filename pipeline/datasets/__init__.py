"""Data sets: folders, tables, arrays and torchvision behind one small protocol."""
