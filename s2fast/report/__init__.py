"""Stage 5: the results of a run as tables, maps, pictures and a report page."""
