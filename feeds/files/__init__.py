"""A bank's history as files: CSV, Parquet and NDJSON become core-banking events, with what is wrong and where."""
