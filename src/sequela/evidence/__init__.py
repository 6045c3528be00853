"""Many cases: how strong and how well supported the link of two event types is."""
