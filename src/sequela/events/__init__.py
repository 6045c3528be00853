"""From an event log to ragged sequences of ids: reading, vocabulary, sequences."""
