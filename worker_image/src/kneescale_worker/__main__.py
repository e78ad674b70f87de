"""Entry of `python -m kneescale_worker`."""

import sys

from kneescale_worker.main import main

sys.exit(main())
