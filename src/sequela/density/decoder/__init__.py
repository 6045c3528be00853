"""Attention models of Hugging Face as densities."""
