"""Pretext objectives, one file each; `registry` is the only list."""
