"""The numerical operations of s2fast, each with several backends; they take and return arrays.

Each folder is one operation, named like its function. Nothing here reads files, configuration or the environment, and
importing this package imports no backend.
"""
