"""Opt-outs: each module parses one signal, `decision` turns the marks into a verdict."""
