"""Configs: one file a mechanism, `get_config(scale)` with demo, gpu, paper."""
