"""How a density's network is run: device, precision, compiled code, threads, batch sizes and what they cost."""
