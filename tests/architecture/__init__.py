"""The shape of the code: public names, cost of an import, size of files."""
