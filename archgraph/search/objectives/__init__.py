"""What is measured on a built candidate: a short training, zero-cost proxies, latency."""
