"""An Observed → a Result: metrics (slo), three ledgers, the line and its fairness, the verdict.  Pure."""
