#!/usr/bin/env python3
"""The last step of the pipeline: what the survey found, and what proves that its instance is down."""

import json
import sys
from pathlib import Path


def main():
    found, run = (json.loads(Path(name).read_text()) for name in sys.argv[1:3])
    print("# Progress of diabetes\n")
    print("| choice | terms | penalty | error |\n| --- | --- | --- | --- |")
    for choice in ("best", "simplest"):
        place = found[choice]
        print(f"| {choice} | {place['terms']} | {place['penalty']:g} | {place['rmse']:.2f} |")
    print("\n![error over the grid](build/out/results/error.png)\n")
    receipt = run["receipt"]
    reads = " and ".join(read["at"][11:19] for read in receipt["observations"])
    print(f"Run {run['run_id']}: instance {run['instance']['name']} is {receipt['status']}, read at {reads} UTC.")


if __name__ == "__main__":
    main()
