# SPDX-FileCopyrightText: The Baleine authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Ask a web farm a number of times and say how often each of its web servers answered.

Usage: count_answers.py URL TIMES

Every answer carries the name of its server in the header X-Farm-Server. One that is not an answer of a web server ends
the count with code 1 and its reason.
"""

from __future__ import annotations

import sys
import urllib.request
from collections import Counter


def main(url: str, times: int) -> int:
    # Straight to the farm, whatever proxy the environment names.
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    answers: Counter[str] = Counter()
    for _turn in range(times):
        try:
            with opener.open(url, timeout=10) as answer:
                answers[answer.headers.get("X-Farm-Server") or "unnamed"] += 1
        except OSError as error:
            print(f"farm at {url} failed after {sum(answers.values())} answers: {error}", file=sys.stderr)
            return 1
    print(f"farm answers at {url}: " + ", ".join(f"{name} {count}" for name, count in sorted(answers.items())))
    return 0


sys.exit(main(sys.argv[1], int(sys.argv[2])))
