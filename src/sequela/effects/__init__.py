"""One case: interventions on its events, their effects, and which effects are edges."""
