"""What all tests share."""

from hypothesis import settings

# How long an example takes is the machine's business, and no test's.
settings.register_profile("kneescale", deadline=None)
settings.load_profile("kneescale")
