"""Arrays in, arrays out: the operations s2fast stands on, each with several backends.

One folder is one operation, and the folder's name is the function's name. Nothing here reads files, configuration or
the environment, and importing this package imports no backend.
"""
