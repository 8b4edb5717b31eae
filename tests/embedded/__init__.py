"""The embedded server: real servers, and processes that are really killed."""
