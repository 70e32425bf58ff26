"""Benchmarks: figures measured in one run, beside the limit measured in the same run."""
