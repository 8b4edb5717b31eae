"""The whole broker against a model of it."""
