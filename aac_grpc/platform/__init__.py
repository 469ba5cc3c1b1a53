"""The whole platform on one machine: which processes, with what environment, in which order."""
