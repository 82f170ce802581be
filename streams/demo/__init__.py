"""`lifecycle demo`: shop history and simulated shoppers through a worker, watched by a subscriber to its outputs."""
