"""A deterministic simulation: the real consumer, relay, positions and deliveries on virtual time.

Only what is outside of them is simulated: the clock (`loop`), the database (`store`), the log and its
consumer group (`log`). One seed is one interleaving, and gives the same one again.
"""
