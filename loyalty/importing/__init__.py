"""Data from elsewhere: the published year of a grocer that `make run` starts with."""
