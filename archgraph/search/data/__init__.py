"""Data sets of studies, as tensors in memory: read from disk or generated from a seed, the same for every trial."""

from archgraph.search.data.base import Dataset, load_data

__all__ = ["Dataset", "load_data"]
