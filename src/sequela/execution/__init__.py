"""Where and in which pieces work over cases runs; knows nothing of causes."""
