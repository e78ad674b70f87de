"""The node agent: a DRA driver, and the dispatcher of each device of its node."""
