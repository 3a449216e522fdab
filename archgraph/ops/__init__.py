"""The op vocabulary: one class per op, one module per family (see `archgraph.ops.base`)."""
