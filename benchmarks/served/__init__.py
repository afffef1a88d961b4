"""Servers under load: what they are asked, and when they answer."""
