"""``python -m ganfeat``."""

import sys

from ganfeat.cli import main

sys.exit(main())
