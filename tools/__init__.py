"""Programs for working on jaxpriv itself; they are not installed."""
