"""Embedded PostgreSQL, Valkey and Kafka, and the supervisor that runs them and the services.

Services never import it: they are told URLs.
"""
