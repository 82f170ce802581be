"""The pure core: no I/O, no clock, no randomness, no logging. It is told the time, it never asks for it."""
