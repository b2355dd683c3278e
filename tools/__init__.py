"""Programs for working on jaxpriv itself; not part of what is installed."""
