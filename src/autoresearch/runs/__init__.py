"""Measure one run of one commit."""
