from __future__ import annotations

import sys
from pathlib import Path

# With --import-mode=importlib a test's folder is not on the path; optimize_problems.py lies there.
sys.path.insert(0, str(Path(__file__).parent))
