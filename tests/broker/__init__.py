"""The broker: one file per script, then what carries them."""
