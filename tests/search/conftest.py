"""Tests of search share a machine with others, and their networks are tiny: one thread is quicker than several."""

import pytest
import torch


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)
