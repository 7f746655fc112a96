"""The loyalty programme as pure values and functions: no clock, no database, no HTTP.

`step(program, state, activity)` is the whole of it; see `step.py`.
"""
