"""Generated tasks that tell attention kinds apart: what must be remembered grows, and nothing else helps.

Sequences are drawn from a seed; training and held-out parts from streams of their own.
"""

from __future__ import annotations

import torch
from torch import Tensor

from archgraph.search.data.base import IGNORED, Dataset, fault

__all__ = ["copy", "needle", "recall"]


def _streams(seed: int) -> tuple[torch.Generator, torch.Generator]:
    return torch.Generator().manual_seed(2 * seed), torch.Generator().manual_seed(2 * seed + 1)


def recall(
    vocab: int, length: int, pairs: int, train_size: int, test_size: int, seed: int, power: float = 0.01
) -> Dataset:
    """Multi-query associative recall (Arora et al., Zoology, arXiv 2312.04927, section 3 and appendix).

    A sequence begins with ``pairs`` key-value pairs, keys from the first half of the vocabulary without repetition,
    values from the second. Then every key comes once more, at places whose distance follows a power law
    (probability ∝ ``power · gap^(power - 1)``); the target at such a place is its value. Other places hold random
    tokens and don't count.
    """
    half = vocab // 2
    if pairs > half - 1:
        raise fault("data/recall", f"{pairs} pairs need as many keys, and half of {vocab} tokens are keys")
    if length < 4 * pairs:
        raise fault("data/recall", f"{pairs} pairs and their queries need a length of {4 * pairs}")
    free = (length - 2 * pairs) // 2
    gaps = torch.arange(1, free + 1, dtype=torch.float64)
    weights = power * gaps ** (power - 1)

    def part(generator: torch.Generator, count: int) -> tuple[Tensor, Tensor]:
        keys = 1 + torch.rand(count, half - 1, generator=generator).argsort(1)[:, :pairs]
        values = half + torch.randint(0, vocab - half, (count, pairs), generator=generator)
        x = torch.randint(1, vocab, (count, length), generator=generator)
        y = torch.full((count, length), IGNORED)
        x[:, 0 : 2 * pairs : 2] = keys
        x[:, 1 : 2 * pairs : 2] = values
        places = torch.multinomial(weights.expand(count, -1), pairs, replacement=False, generator=generator)
        at = 2 * pairs + 2 * places
        # a random token in the tail must not be a key that is asked for later on
        tail = x[:, 2 * pairs :]
        tail[tail < half] = 0
        x.scatter_(1, at, keys)
        y.scatter_(1, at, values)
        return x, y

    train, test = _streams(seed)
    return Dataset(*part(train, train_size), *part(test, test_size), vocab)


def copy(vocab: int, length: int, tokens: int, train_size: int, test_size: int, seed: int) -> Dataset:
    """Selective copying (Gu and Dao, Mamba, arXiv 2312.00752, section 4.1): tokens at random places among noise, to be
    said in order after a marker.

    Token 0 is noise and 1 the marker; the last ``tokens`` positions hold markers, whose targets are the tokens.
    """
    body = length - tokens
    if body < tokens:
        raise fault("data/copy", f"{tokens} tokens and their copies need a length of {2 * tokens}")

    def part(generator: torch.Generator, count: int) -> tuple[Tensor, Tensor]:
        what = torch.randint(2, vocab, (count, tokens), generator=generator)
        places = torch.rand(count, body, generator=generator).argsort(1)[:, :tokens].sort(1).values
        x = torch.zeros(count, length, dtype=torch.long)
        x.scatter_(1, places, what)
        x[:, body:] = 1
        y = torch.full((count, length), IGNORED)
        y[:, body:] = what
        return x, y

    train, test = _streams(seed)
    return Dataset(*part(train, train_size), *part(test, test_size), vocab)


def needle(vocab: int, length: int, train_size: int, test_size: int, seed: int) -> Dataset:
    """A needle in a haystack: token 1 marks the token behind it, which is asked for at the last position by token 0."""

    def part(generator: torch.Generator, count: int) -> tuple[Tensor, Tensor]:
        x = torch.randint(2, vocab, (count, length), generator=generator)
        place = torch.randint(0, length - 3, (count, 1), generator=generator)
        x.scatter_(1, place, 1)
        x[:, -1] = 0
        y = torch.full((count, length), IGNORED)
        y[:, -1:] = x.gather(1, place + 1)
        return x, y

    train, test = _streams(seed)
    return Dataset(*part(train, train_size), *part(test, test_size), vocab)
