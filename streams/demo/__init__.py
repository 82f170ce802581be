"""`lifecycle demo`: real shop history and simulated shoppers through a worker, watched as any subscriber would."""
