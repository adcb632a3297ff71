"""Feeds: small pure functions from a bank's own rows to core-banking events, and what pushes them.

A feed is a client of the public ingestion. It knows the published language and nothing of the services.
"""
