"""Encoders: open_clip and timm models behind one small protocol."""
