"""The only package that imports redis.

`Broker` is the write side, `inspect` the read side; every key is in the table of `keys`, every
state change is one Lua script with one stub in `scripts`; topology ends in `topology`.
"""
