"""Torch modules that generated code needs at run time; they know nothing of the compiler."""
