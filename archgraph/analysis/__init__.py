"""Analyses: a graph in, a value out; numbers or closed forms, without torch."""
