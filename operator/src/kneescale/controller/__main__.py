"""`python -m kneescale.controller` runs the operator."""

import sys

from kneescale.controller.main import main

sys.exit(main())
