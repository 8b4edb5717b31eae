"""The core: values and decisions, shown by properties."""
