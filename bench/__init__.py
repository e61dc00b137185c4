"""Benchmarks: one file a question, against the peers and the physical limit of the same run."""
