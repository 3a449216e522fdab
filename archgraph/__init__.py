"""A declarative graph compiler for PyTorch: YAML block graphs, checked and costed before a tensor exists."""
