"""Growth and pruning of whole models: which connections and neurons come and go."""
