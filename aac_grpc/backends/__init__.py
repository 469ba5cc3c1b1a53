"""Embedded PostgreSQL, Valkey and Kafka, and the supervisor that runs them and the services.

Nothing here is imported when the backends are given by URL.
"""
