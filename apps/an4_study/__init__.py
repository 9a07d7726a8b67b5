"""The study of AN4: the networks of `saved_models/an4-*`, and what each part of them is worth.

`trainings` leads from the corpus to the networks, by the recipes of `presets`, and `card` exports
them; `robustness` tries them on recordings that were disturbed.

`rows` says which trainings there are, `runs` does them, `measures` and `latency` look at what came
out, `records` keeps what tables need, and `tables`, `fronts` and `plots` make the README from it.
"""
