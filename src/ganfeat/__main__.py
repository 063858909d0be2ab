"""``python -m ganfeat``."""

import os
import sys

from ganfeat.cli import main
from ganfeat.distributed import world_size

if __name__ == "__main__":
    status = main()
    if world_size() > 1:
        # gloo's threads have been seen to abort a process that had done all its work, while Python took itself apart
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)
    sys.exit(status)
