"""Machines that code is generated for: what they have, how to compile, how to write a library."""
