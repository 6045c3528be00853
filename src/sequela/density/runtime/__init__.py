"""Devices, precision, compiled code, threads."""
