"""Tuning: search the settings that suit an archive, on one half of some scenes, and report on the other half."""
