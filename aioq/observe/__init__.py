"""What is said about the work: log lines."""
