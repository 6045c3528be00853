"""The HTTP service (extra ``serve``): explains new cases, and shows those of a run."""
