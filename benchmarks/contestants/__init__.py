"""Those who are measured: each answers the same command line in a process of its own."""
