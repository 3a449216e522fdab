from tests.report.small import tiny

__all__ = ["tiny"]
