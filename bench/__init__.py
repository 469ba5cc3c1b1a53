"""What the platform costs and carries, measured on the machine at hand. `scripts/bench` runs it."""
