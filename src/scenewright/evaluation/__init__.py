"""Comparing methods on equal terms: the same scenes, judges and seeds for all, in a folder that can be resumed."""
