"""Reports on architectures: costs by block, claims beside our numbers, drawings. Nothing here imports torch."""
