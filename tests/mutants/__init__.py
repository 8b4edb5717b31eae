"""What the tests are worth: each protection is taken away in turn, and a named test must notice."""
