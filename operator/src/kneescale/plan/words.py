"""How numbers of things read."""


def counted(number: int, thing: str) -> str:
    """As 1 replica, 2 replicas."""
    return f"{number} {thing}" if number == 1 else f"{number} {thing}s"
