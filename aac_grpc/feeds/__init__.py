"""Where market events come from: recorded days and a simulator, as rows that a venue applies."""
