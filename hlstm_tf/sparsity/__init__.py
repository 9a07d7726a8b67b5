"""Which connections exist: structures, scores, growth and pruning rules, schedules."""
