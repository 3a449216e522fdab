"""Constants computed when a model is built, one module per family of ops; source export copies the functions."""
