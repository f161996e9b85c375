"""The targets, a module for each part of the house that reads what others wrote."""
