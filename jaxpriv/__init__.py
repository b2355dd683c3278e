"""jaxpriv: train, attack and release privacy-preserving face data in JAX."""

__version__ = "0.2.0"
