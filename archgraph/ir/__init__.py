"""Typed block graph: symbolic sizes, tensor types, graphs."""
