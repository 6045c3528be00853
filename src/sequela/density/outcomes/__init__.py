"""Outcomes of cases: how likely each label is, given the events of a case."""
