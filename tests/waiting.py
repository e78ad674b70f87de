"""Waiting for what another thread or process does."""

from functools import partial

from e2e.wait import wait_until as _wait_until

#: `wait_until(condition, what)`: returns once the condition holds; TimeoutError where it never does.
wait_until = partial(_wait_until, timeout_s=20.0, poll_s=0.005)
