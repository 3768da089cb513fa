"""``python -m atari_vlm PROGRAM ...``: the console script."""

import sys

from atari_vlm.cli import main

sys.exit(main())
