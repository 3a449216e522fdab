"""Back ends: torch.fx modules with real or meta weights, and what printing source code shares with them."""
