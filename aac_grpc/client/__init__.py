"""The Python SDK: stubs, typed errors, same-key retries, streams that resume. Imports nothing of the server."""
