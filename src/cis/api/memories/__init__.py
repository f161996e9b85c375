"""Memories: written, read, searched, watched, counted, brought in and out."""
