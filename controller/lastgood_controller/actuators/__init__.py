"""Carrying out what was decided, on one platform each."""
