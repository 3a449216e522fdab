"""Front end: YAML text → spec → typed block graph."""
