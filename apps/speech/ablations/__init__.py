"""What each part of the method is worth: tables of trainings that differ in one thing.

`rows` says which trainings there are, `runs` does them, `measures` and `latency` look at what came
out, `records` keeps what tables need, and `tables`, `fronts` and `plots` make the README from it.
"""
