"""Measures the gateway against nginx in the same run: ``make bench``."""
