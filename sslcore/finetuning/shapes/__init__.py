"""What labelled rows can be: one file per shape; registry.py is the only list."""
